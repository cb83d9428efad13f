/**
 * Reads along what the coordinator sends to a worker node, and tells of results that it calls committed: "the node may forget
 * it" must never leave before the commit's record is on the disk.
 *
 * It finds the messages by their form, since names of methods are compressed on the wire: of all messages to worker nodes, only
 * CoordinatorMessage has two numbers, a token, in field 3. What is not understood is passed over.
 */
const frameHeaderBytes = 9;
const dataFrame = 0;
const paddedFlag = 8;
const messageHeaderBytes = 5;
/** Artifacts and inputs travel in longer ones. */
const messageBytesMax = 1_048_576;
const committedField = 3;

const [varint, fixed64, delimited, fixed32] = [0, 1, 2, 5];

interface Field {
  readonly number: number;
  readonly value: number | Buffer;
}

/** Of one connection, whose bytes come in any pieces. */
export class CommitWitness {
  readonly #onCommitted: (token: string) => void;
  readonly #messages = new Map<number, Buffer>();
  #rest: Buffer = Buffer.alloc(0);

  /** `token`: as `formatToken` writes it. */
  constructor(onCommitted: (token: string) => void) {
    this.#onCommitted = onCommitted;
  }

  read(piece: Buffer): void {
    let bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    while (bytes.length >= frameHeaderBytes) {
      const end = frameHeaderBytes + bytes.readUIntBE(0, 3);
      if (bytes.length < end) break;
      if (bytes[3] === dataFrame) {
        const padding = (bytes.readUInt8(4) & paddedFlag) === 0 ? 0 : bytes.readUInt8(frameHeaderBytes);
        const begin = frameHeaderBytes + (padding === 0 ? 0 : 1);
        this.#data(bytes.readUInt32BE(5), bytes.subarray(begin, end - padding));
      }
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
  }

  #data(stream: number, piece: Buffer): void {
    const before = this.#messages.get(stream);
    let bytes = before ? Buffer.concat([before, piece]) : piece;
    while (bytes.length >= messageHeaderBytes) {
      const end = messageHeaderBytes + bytes.readUInt32BE(1);
      if (bytes.length < end) break;
      if (end <= messageBytesMax) this.#message(bytes.subarray(messageHeaderBytes, end));
      bytes = bytes.subarray(end);
    }
    this.#messages.set(stream, bytes);
  }

  #message(bytes: Buffer): void {
    for (const { number, value } of fieldsOf(bytes) ?? []) {
      if (number !== committedField || typeof value === 'number') continue;
      const token = tokenOf(value);
      if (token !== null) this.#onCommitted(token);
    }
  }
}

function tokenOf(bytes: Buffer): string | null {
  const fields = fieldsOf(bytes);
  const [epoch, counter] = fields ?? [];
  const isToken = fields?.length === 2 && epoch?.number === 1 && counter?.number === 2;
  return isToken && typeof epoch.value === 'number' && typeof counter.value === 'number'
    ? `${epoch.value}.${counter.value}`
    : null;
}

/** Null when it is no message. @source the encoding of protocol buffers */
function fieldsOf(bytes: Buffer): readonly Field[] | null {
  const fields: Field[] = [];
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; at < bytes.length && factor < 2 ** 64; factor *= 128) {
      const byte = bytes.readUInt8(at);
      at += 1;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    return Number.NaN;
  };
  while (at < bytes.length) {
    const tag = number();
    const kind = tag % 8;
    if (kind === varint) {
      fields.push({ number: Math.floor(tag / 8), value: number() });
      continue;
    }
    const length = kind === delimited ? number() : kind === fixed64 ? 8 : kind === fixed32 ? 4 : Number.NaN;
    if (!(at + length <= bytes.length)) return null;
    fields.push({ number: Math.floor(tag / 8), value: bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}
