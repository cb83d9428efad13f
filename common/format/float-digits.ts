/**
 * The shortest decimal that is a float32's own among doubles, straight into bytes, several times as fast as by way of a text. A float32 has
 * 24 bits, so that the 17 digits which tell a double come out of a few exact products; fewer are taken where they tell it as well.
 * @source ECMA-262, Number::toString: as few digits as possible, and of those the nearest
 */

const [minus, point, zero] = [0x2d, 0x2e, 0x30];

/** Digits that always tell a double: so many are made in the first place, as two integers. */
const digitsMost = 17;
const digitsOfSecond = 8;
const second = 10 ** digitsOfSecond;

const bitsOfSingle = 24;
const bitsOfDouble = 53;
const biasOfSingle = 127;
const high = 2 ** bitsOfSingle;

const single = new Float32Array(1);
const word = new Uint32Array(single.buffer);

/** Powers of five in two parts of 24 bits, so that products with 24 bits are exact. */
const fives = Array.from({ length: 21 }, (_, exponent) => 5 ** exponent);
const fivesHigh = Float64Array.from(fives, (five) => Math.floor(five / high));
const fivesLow = Float64Array.from(fives, (five) => five % high);
const tens = Float64Array.from(fives, (_, exponent) => 10 ** exponent);
/** Half of the distance to the next double, by the exponent as a float32 has it. */
const halves = Float64Array.from({ length: 256 }, (_, exponent) => 2 ** (exponent - biasOfSingle - bitsOfDouble));

/** Bytes that a number may take: a sign, `0.000` and its digits. */
export const singleBytesMax = 24;

/**
 * Writes `value`, which is a float32, from `from` on and gives where it ends; −1 where nothing is written: it is whole, needs an exponent
 * or more than six digits before its point, has few digits, or lies in the middle between two.
 */
export function putSingle(bytes: Uint8Array, from: number, value: number): number {
  const size = Math.abs(value);
  if (!(size >= 1e-4 && size < 1e6)) return -1;
  single[0] = size;
  const bits = word[0] as number;
  const mantissa = (bits & 0x7fffff) | 0x800000;
  const exponent = bits >>> 23;
  const place = placeOf(size);
  // The digits are those of mantissa * 5 ** scale / 2 ** shift.
  const scale = digitsMost - 1 - place;
  const shift = bitsOfSingle - 1 + biasOfSingle - exponent - scale;
  // The double below a power of two is nearer than others.
  if (shift < 1 || mantissa === 0x800000) return -1;
  const lower = mantissa * (fivesLow[scale] as number);
  const carried = Math.floor(lower / high);
  const rest = lower - carried * high;
  const upper = (mantissa * (fivesHigh[scale] as number) + carried) * (1 << (bitsOfSingle - shift));
  let front = Math.floor(upper / second);
  let back = upper - front * second + (rest >> shift);
  const behind = (rest & ((1 << shift) - 1)) / (1 << shift);
  if (back >= second) {
    front += 1;
    back -= second;
  } else if (back < 0) {
    front -= 1;
    back += second;
  }
  const half = (halves[exponent] as number) * (tens[scale] as number);
  const unit = unitOf(back | 0, behind, half);
  if (unit === 0) return -1;
  // A processor divides integers of 32 bits without going by way of doubles.
  let end = ((back | 0) / unit) | 0;
  if (2 * ((back | 0) - end * unit + behind) > unit) end += 1;
  const digits = digitsOfSecond - (unit === 1 ? 0 : unit === 10 ? 1 : 2);
  if (end === tens[digits]) return -1;
  let at = from;
  if (value < 0) bytes[at++] = minus;
  for (let zeros = -place; zeros > 0; zeros -= 1) {
    bytes[at++] = zero;
    if (zeros === -place) bytes[at++] = point;
  }
  // Behind a point that stands within them they have their places already.
  const begin = place < 0 ? at : at + 1;
  putDigits(bytes, begin, front, digitsMost - digitsOfSecond);
  putDigits(bytes, begin + digitsMost - digitsOfSecond, end, digits);
  if (place >= 0) {
    for (let i = 0; i <= place; i += 1) bytes[at + i] = bytes[at + i + 1] as number;
    bytes[at + place + 1] = point;
  }
  return begin + digitsMost - digitsOfSecond + digits;
}

/** Exponent of the first digit. No float32 lies between a power of ten and the double next to it. */
function placeOf(size: number): number {
  if (size >= 1) {
    let place = 0;
    for (let power = 10; size >= power; power *= 10) place += 1;
    return place;
  }
  if (size >= 0.1) return -1;
  if (size >= 0.01) return -2;
  return size >= 0.001 ? -3 : -4;
}

/** The last digit that is needed is of 100, 10 or 1; 0: none of these alone, or it lies in the middle between two. */
function unitOf(back: number, behind: number, half: number): number {
  const thousands = ((back / 1_000) | 0) * 1_000;
  const hundreds = ((back / 100) | 0) * 100;
  if (isWithin(back - hundreds + behind, 100, half)) return isWithin(back - thousands + behind, 1_000, half) ? 0 : 100;
  const over = back - ((back / 10) | 0) * 10 + behind;
  if (isWithin(over, 10, half)) return over === 5 ? 0 : 10;
  return behind === 0.5 ? 0 : 1;
}

const isWithin = (over: number, unit: number, half: number): boolean => over < half || unit - over < half;

/** `count` digits of an integer of 32 bits. */
function putDigits(bytes: Uint8Array, at: number, value: number, count: number): void {
  let left = value | 0;
  for (let i = at + count - 1; i >= at; i -= 1) {
    const tenth = (left / 10) | 0;
    bytes[i] = zero + left - tenth * 10;
    left = tenth;
  }
}
