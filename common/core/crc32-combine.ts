/**
 * The CRC-32 of two pieces one behind the other, from those of the pieces: what travels as one body is checked as one,
 * although its two parts are announced with a checksum each. Pure arithmetic over GF(2); zlib has it, Node does not offer it.
 */

/** Of a 32 × 32 matrix of bits: one column per bit of a checksum. */
type Columns = readonly number[];

/** What one zero bit does to a checksum, by the reversed polynomial of zlib's CRC-32. */
const oneZeroBit: Columns = [0xedb8_8320, ...Array.from({ length: 31 }, (_, bit) => 2 ** bit)];

function times(columns: Columns, checksum: number): number {
  let sum = 0;
  for (let bit = 0, left = checksum; left !== 0; bit += 1, left >>>= 1) {
    if ((left & 1) !== 0) sum ^= columns[bit] as number;
  }
  return sum >>> 0;
}

function squared(columns: Columns): Columns {
  return columns.map((column) => times(columns, column));
}

/** What 2^n zero bytes do, by n; made as they are needed. Eight zero bits are one zero byte, and each square doubles how many. */
const zeroBytes: Columns[] = [squared(squared(squared(oneZeroBit)))];

function zeroBytesOf(power: number): Columns {
  for (let known = zeroBytes.length; known <= power; known += 1)
    zeroBytes.push(squared(zeroBytes[known - 1] as Columns));
  return zeroBytes[power] as Columns;
}

/** `secondBytes`: length of the second piece. */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  let shifted = first;
  let left = shifted === 0 ? 0 : secondBytes;
  for (let power = 0; left > 0; power += 1) {
    if (left % 2 === 1) shifted = times(zeroBytesOf(power), shifted);
    left = Math.floor(left / 2);
  }
  return (shifted ^ second) >>> 0;
}
