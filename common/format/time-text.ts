/** Points in time as text, from whole units since 1970: a double of milliseconds holds neither all nanoseconds nor all microseconds. */
import type { TimeUnit } from './column-type.ts';

export const unitsPerSecond: Readonly<Record<TimeUnit, bigint>> = {
  s: 1n,
  ms: 1_000n,
  us: 1_000_000n,
  ns: 1_000_000_000n,
};

/** By the numbers that Arrow has for them. */
export const arrowTimeUnits: readonly TimeUnit[] = ['s', 'ms', 'us', 'ns'];

const fractionDigits: Readonly<Record<TimeUnit, number>> = { s: 0, ms: 3, us: 6, ns: 9 };

export interface TimeParts {
  /** `2024-01-01 02:03:00`. */
  readonly seconds: string;
  /** Digits of the fraction of a second, as many as the unit has; of a time before 1970 as well what is to be added. */
  readonly fraction: string;
}

/** In UTC. Null: beyond the years that a JavaScript Date has. */
export function timeParts(count: bigint, unit: TimeUnit): TimeParts | null {
  const perSecond = unitsPerSecond[unit];
  const left = count % perSecond;
  const rest = left < 0n ? left + perSecond : left;
  const date = new Date(Number((count - rest) / perSecond) * 1_000);
  if (Number.isNaN(date.getTime())) return null;
  const seconds = date.toISOString().slice(0, -5).replace('T', ' ');
  return { seconds, fraction: unit === 's' ? '' : rest.toString().padStart(fractionDigits[unit], '0') };
}

/**
 * As pandas writes a point in time: `2024-01-01 02:03:00`, with six digits where there is a fraction, nine where these do
 * not hold it; empty where there is no such time.
 * @source pandas: str() of a Timestamp
 */
export function instantText(count: bigint, unit: TimeUnit): string {
  const parts = timeParts(count, unit);
  if (parts === null) return '';
  const { seconds, fraction } = parts;
  if (/^0*$/.test(fraction)) return seconds;
  return `${seconds}.${fraction.length === 9 && fraction.endsWith('000') ? fraction.slice(0, 6) : fraction.padEnd(6, '0')}`;
}

/** The same as a JSON string in ISO 8601: `"2024-01-01T02:03:00Z"`; null where there is no such time. */
export function instantJson(count: bigint, unit: TimeUnit): string {
  return jsonOf(instantText(count, unit));
}

/** {@link instantText} of a Date’s milliseconds. */
export function timeText(ms: number): string {
  if (Number.isNaN(new Date(ms).getTime())) return '';
  const text = new Date(ms).toISOString().slice(0, -1).replace('T', ' ');
  return text.endsWith('.000') ? text.slice(0, -4) : `${text}000`;
}

/** {@link instantJson} of a Date’s milliseconds. */
export function timeJson(ms: number): string {
  return jsonOf(timeText(ms));
}

const jsonOf = (text: string): string => (text === '' ? 'null' : `"${text.replace(' ', 'T')}Z"`);
