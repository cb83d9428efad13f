/**
 * How many rows go into one call of a model on a device, found while it scores: twice as many as long as that makes it faster, half
 * as many when its memory does not suffice.
 *
 *   climbing ──► settled      one size made it hardly faster, or there is no larger one
 *      └───────────┴──► settled, at half      out of memory
 */
import { limits } from '../../common/core/limits.ts';

export interface CallSize {
  /** Rows of a full call. */
  readonly rows: number;
  readonly isSettled: boolean;
  /** Half as many rows were measured before; null: these are the first. */
  readonly before: { readonly rows: number; readonly rate: number } | null;
  /** Full calls of this size so far; the first one, in which a device chooses its kernels, is not measured. */
  readonly calls: number;
  /** Rows per second of the fastest. */
  readonly rate: number;
}

export function climbFrom(rows: number): CallSize {
  return { rows, isSettled: false, before: null, calls: 0, rate: 0 };
}

export function settledAt(rows: number): CallSize {
  return { ...climbFrom(rows), isSettled: true };
}

/** A call of `rows` rows took so long; none has more than `rowsMax`. */
export function afterCall(size: CallSize, rows: number, seconds: number, rowsMax: number): CallSize {
  // What a mini-batch ends with is no full call.
  if (size.isSettled || rows !== size.rows) return size;
  const calls = size.calls + 1;
  const rate = calls === 1 ? 0 : Math.max(size.rate, rows / Math.max(seconds, 1e-9));
  if (calls <= limits.callSamples) return { ...size, calls, rate };
  const { before } = size;
  if (before && rate < before.rate * limits.callGain) return settledAt(before.rows);
  if (2 * rows > rowsMax) return settledAt(rows);
  return { ...climbFrom(2 * rows), before: { rows, rate } };
}

/** A call of `rows` rows had not enough memory; null: fewer than one cannot be. */
export function afterShortage(rows: number): CallSize | null {
  return rows < 2 ? null : settledAt(Math.floor(rows / 2));
}
