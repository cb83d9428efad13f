/**
 * DER: the few types that certificates and requests for them are made of.
 * @source ITU-T X.690
 */
import { isIP } from 'node:net';

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** A value with its tag and length before it. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag]), lengthOf(bytes), ...parts]);
}

function lengthOf(bytes: number): Buffer {
  if (bytes < 0x80) return Buffer.from([bytes]);
  const digits: number[] = [];
  for (let rest = bytes; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return Buffer.from([0x80 | digits.length, ...digits]);
}

export function sequence(...parts: readonly Uint8Array[]): Buffer {
  return der(tags.sequence, ...parts);
}

/** `1.2.840.10045.4.3.2` */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((part) => {
    const groups = [part % 128];
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift(0x80 | (left % 128));
    return groups;
  });
  return der(tags.oid, Buffer.from(bytes));
}

/** Bits in whole bytes. */
export function bitString(bytes: Uint8Array): Buffer {
  return der(tags.bitString, Buffer.from([0]), bytes);
}

/** To the second; until 2049 in two digits, as certificates want it. @source RFC 5280, 4.1.2.5 */
export function time(at: Date): Buffer {
  const digits = at.toISOString().replace(/[-:T]|\.\d+/g, '');
  const isShort = at.getUTCFullYear() < 2050;
  return der(isShort ? tags.utcTime : tags.generalizedTime, Buffer.from(isShort ? digits.slice(2) : digits));
}

/** An IPv4 address as 4 bytes, an IPv6 address as 16; null for anything else. */
export function addressBytes(text: string): Buffer | null {
  if (isIP(text) === 4) return Buffer.from(text.split('.').map(Number));
  if (isIP(text) === 0) return null;
  // The last four bytes may be written as an IPv4 address.
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [head = '', tail = ''] = plain.split('::');
  const groups = (half: string): string[] => (half === '' ? [] : half.split(':'));
  const [before, after] = [groups(head), groups(tail)];
  const middle = Array<string>(8 - before.length - after.length).fill('0');
  const words = [...before, ...middle, ...after].map((group) => parseInt(group, 16));
  return Buffer.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

export interface DerValue {
  readonly tag: number;
  /** With tag and length. */
  readonly whole: Buffer;
  readonly content: Buffer;
}

/** The values that stand one after the other in `bytes`. @throws RangeError for what is no DER */
export function derValues(bytes: Buffer): readonly DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes.readUInt8(at);
    const first = bytes.readUInt8(at + 1);
    const digits = first < 0x80 ? 0 : first & 0x7f;
    if (first === 0x80 || digits > 4) throw new RangeError('a length of DER is indefinite or too long');
    const from = at + 2 + digits;
    const length = digits === 0 ? first : bytes.readUIntBE(at + 2, digits);
    if (from + length > bytes.length) throw new RangeError('a value of DER is cut short');
    values.push({ tag, whole: bytes.subarray(at, from + length), content: bytes.subarray(from, from + length) });
    at = from + length;
  }
  return values;
}

/** The values of the one sequence that `bytes` are. @throws RangeError */
export function sequenceValues(bytes: Buffer): readonly DerValue[] {
  const [only, ...more] = derValues(bytes);
  if (!only || more.length > 0 || only.tag !== tags.sequence) throw new RangeError('wanted one sequence of DER');
  return derValues(only.content);
}

export function toPem(bytes: Buffer, label: string): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** Of the first one in the text. @throws RangeError */
export function fromPem(text: string, label: string): Buffer {
  const body = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(text)?.[1];
  if (body === undefined) throw new RangeError(`wanted a ${label} in PEM`);
  return Buffer.from(body, 'base64');
}
