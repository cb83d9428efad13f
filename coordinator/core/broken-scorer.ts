/**
 * Tells a broken script or model from bad files: when several mini-batches fail, and all parts of each fail the same way
 * again, before anything of the job was ever scored, bisecting on would only give up one file after the other.
 * Once a single mini-batch has been scored the scorer works, and whatever fails is the files' fault: nothing is noted
 * from then on. Written by `evolve` alone.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import { errorSignature } from '../../common/core/error-signature.ts';
import { limits } from '../../common/core/limits.ts';
import type { FailureKind } from './events.ts';

export interface BrokenSuspicion {
  /** Signature of the failure that was noted last: that of the mini-batch which is split next. */
  last: { readonly batch: number; readonly signature: string } | null;
  /** Parts of first splits that have not failed yet, with the mini-batch that they are of. */
  readonly parts: Map<number, number>;
  /** Split mini-batches that may still turn out to fail in all parts, with what is left of them. */
  readonly split: Map<number, { readonly signature: string; left: number }>;
  /** Mini-batches all of whose parts have failed alike, by signature. */
  readonly alike: Map<string, { count: number; readonly failure: Failure }>;
}

export function newBrokenSuspicion(): BrokenSuspicion {
  return { last: null, parts: new Map(), split: new Map(), alike: new Map() };
}

/** Something was scored: the scorer works. */
export function clearSuspicion(suspicion: BrokenSuspicion): void {
  // Called for every commit: a map that was never filled is not cleared again.
  if (suspicion.last === null) return;
  suspicion.last = null;
  suspicion.parts.clear();
  suspicion.split.clear();
  suspicion.alike.clear();
}

/** An attempt failed. What a node lost says nothing about the scorer. */
export function noteFailure(suspicion: BrokenSuspicion, batch: number, kind: FailureKind, failure: Failure): void {
  if (kind === 'lost') return;
  const signature = errorSignature(failure);
  suspicion.last = { batch, signature };
  const whole = suspicion.parts.get(batch);
  if (whole === undefined) return;
  suspicion.parts.delete(batch);
  const split = suspicion.split.get(whole);
  if (!split) return;
  split.left -= split.signature === signature ? 1 : Number.POSITIVE_INFINITY;
  if (split.left > 0) return;
  suspicion.split.delete(whole);
  if (split.left < 0) return;
  const alike = suspicion.alike.get(signature) ?? { count: 0, failure };
  alike.count += 1;
  suspicion.alike.set(signature, alike);
}

/** A mini-batch as it was cut from the input order was split, after the failure that was noted last. */
export function noteSplit(suspicion: BrokenSuspicion, batch: number, parts: readonly number[]): void {
  if (suspicion.last?.batch !== batch) return;
  suspicion.split.set(batch, { signature: suspicion.last.signature, left: parts.length });
  for (const part of parts) suspicion.parts.set(part, batch);
}

/** The job's error when the scorer is broken, null as long as it may be the files. */
export function brokenScorer({ alike }: BrokenSuspicion): Failure | null {
  for (const { count, failure } of alike.values()) {
    if (count < limits.brokenMiniBatchesMin) continue;
    const why =
      `${count} mini-batches and all parts of each failed the same way and none was scored, ` +
      `so the cause is the script or the model and not a file`;
    return { ...failure, message: `${failure.message}; ${why}` };
  }
  return null;
}
