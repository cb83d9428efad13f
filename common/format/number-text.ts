/**
 * Numbers as text, as Python's `repr` has them, so that rows look the same whichever language scored them.
 * JavaScript finds the same shortest digits; the two differ in `.0` and in where and how the exponent stands.
 */

/**
 * A floating-point number: `1.0`, `0.1`, `1e-05`, `1e+16`, `-0.0`, `inf`, `nan`. A float32 is given widened to a double,
 * and its digits are the double's: `0.12345679104328156`.
 * @source Python's float.__repr__: exponent form below 1e-4 and from 1e16, at least two digits of exponent
 */
export function floatText(value: number): string {
  const size = Math.abs(value);
  if (size < 1e16 && Number.isInteger(value)) return Object.is(value, -0) ? '-0.0' : `${value}.0`;
  if (size >= 1e-4 && size < 1e16) return String(value);
  if (Number.isNaN(value)) return 'nan';
  if (size === Infinity) return value > 0 ? 'inf' : '-inf';
  return exponentText(value);
}

/** A number of a script, where 7 and 7.0 are one value: an integer has no fraction, anything else is a {@link floatText}. */
export function numberText(value: number): string {
  return Number.isSafeInteger(value) ? String(value) : floatText(value);
}

function exponentText(value: number): string {
  const [digits = '', exponent = ''] = value.toExponential().split('e');
  const sign = exponent.startsWith('-') ? '-' : '+';
  return `${digits}e${sign}${exponent.slice(1).padStart(2, '0')}`;
}

/** An integer as JSON: a number where every reader holds it exactly, else a string. */
export function jsonInteger(value: bigint): string {
  const text = value.toString();
  const isSafe = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER);
  return isSafe ? text : `"${text}"`;
}
