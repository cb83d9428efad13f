/**
 * A simulated worker node's upload streams of one session: results one behind the other on each, never more bytes under way
 * than the coordinator has given credit for. A stream that breaks fails all that was on it; the next result opens a new one.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import type { UploadedPiece } from '../../coordinator/service/cluster-server.ts';
import { callUpload, type UploadAnswer, type Write } from './cluster-service.ts';
import type { Connection, NodeEnd } from './connection.ts';
import type { SimNetwork } from './network.ts';

export interface UploadChannelOptions {
  readonly network: SimNetwork;
  readonly node: NodeEnd;
  readonly session: string;
  /** Of a new stream. */
  readonly creditBytes: number;
}

/** Hears once how an upload has ended; null: the coordinator has all bytes. */
export type UploadDone = (error: BatchError | null) => void;

export class UploadChannel {
  readonly #options: UploadChannelOptions;
  readonly #lanes: UploadLane[] = [];

  constructor(options: UploadChannelOptions) {
    this.#options = options;
  }

  /** Goes over the lane that has least to do. */
  upload(token: Token, body: Buffer, done: UploadDone): void {
    let lane = this.#lanes.find((one) => one.load === 0);
    if (!lane && this.#lanes.length < limits.uploadStreamsMax) {
      lane = new UploadLane(this.#options);
      this.#lanes.push(lane);
    }
    lane ??= this.#lanes.reduce((least, one) => (one.load < least.load ? one : least));
    lane.upload(token, body, done);
  }

  /** What is left of the result is not sent. */
  abort(token: Token): void {
    for (const lane of this.#lanes) lane.abort(token);
  }

  close(): void {
    for (const lane of this.#lanes) lane.close();
  }
}

interface Sending {
  readonly key: string;
  readonly token: Token;
  readonly body: Buffer;
  offset: number;
}

class UploadLane {
  readonly #options: UploadChannelOptions;
  readonly #partBytesMax: number;
  #connection: Connection | null = null;
  #write: Write<UploadedPiece> = () => false;
  #isWritable = false;
  #creditBytes = 0;
  /** Results that the coordinator has not confirmed, by token. */
  readonly #waiting = new Map<string, UploadDone>();
  /** Those of which bytes are still here. */
  #sending: Sending[] = [];
  #isClosed = false;

  constructor(options: UploadChannelOptions) {
    this.#options = options;
    // Two parts at least fit the credit, so that one is on its way while the other is being written.
    this.#partBytesMax = Math.max(1, Math.min(limits.uploadChunkBytes, Math.floor(options.creditBytes / 2)));
  }

  get load(): number {
    return this.#waiting.size;
  }

  upload(token: Token, body: Buffer, done: UploadDone): void {
    const key = formatToken(token);
    this.#waiting.set(key, done);
    this.#sending.push({ key, token, body, offset: 0 });
    this.#sendOn();
  }

  abort(token: Token): void {
    this.#settle(formatToken(token), new BatchError('LEASE_STALE', 'the result is not wanted any more'));
    this.#sendOn();
  }

  close(): void {
    this.#isClosed = true;
    this.#break(new BatchError('COORDINATOR_UNREACHABLE', 'the connection was closed'));
  }

  #sendOn(): void {
    for (let head = this.#sending[0]; head; head = this.#sending[0]) {
      const { token, body, offset, key } = head;
      if (!this.#waiting.has(key) || offset >= body.length) {
        this.#sending.shift();
        continue;
      }
      if (this.#isClosed) return;
      if (!this.#connection) this.#open();
      const data = body.subarray(offset, offset + this.#partBytesMax);
      if (this.#creditBytes < data.length || !this.#isWritable) return;
      this.#creditBytes -= data.length;
      this.#isWritable = this.#write({ token, offset, totalBytes: body.length, data });
      head.offset += data.length;
    }
  }

  #open(): void {
    const { network, node, session, creditBytes } = this.#options;
    const connection = network.connect(node, 'bulk', (error) => {
      if (this.#connection === connection) this.#break(error);
    });
    connection.onDrained('to-coordinator', () => {
      if (this.#connection !== connection) return;
      this.#isWritable = true;
      this.#sendOn();
    });
    this.#connection = connection;
    this.#creditBytes = creditBytes;
    this.#isWritable = true;
    this.#write = callUpload(connection, session, (answer) => {
      if (this.#connection === connection) this.#hear(answer);
    });
  }

  #hear({ creditBytes, received, refused }: UploadAnswer): void {
    this.#creditBytes += creditBytes;
    if (received) this.#settle(formatToken(received), null);
    if (refused) this.#settle(formatToken(refused.token), refused.error);
    this.#sendOn();
  }

  #settle(key: string, error: BatchError | null): void {
    const done = this.#waiting.get(key);
    this.#waiting.delete(key);
    done?.(error);
  }

  #break(error: BatchError): void {
    const connection = this.#connection;
    this.#connection = null;
    connection?.closeByNode();
    for (const key of [...this.#waiting.keys()]) this.#settle(key, error);
    this.#sending = this.#sending.filter(({ key }) => this.#waiting.has(key));
  }
}
