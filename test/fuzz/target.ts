/** What is fuzzed, and what may come of an input. */
import { basename } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { Random } from '../sim/world.ts';
import type { Samples } from './mutate.ts';

export type Outcome = { readonly kind: 'accepted' } | { readonly kind: 'refused'; readonly code: string };

export interface OpenTarget {
  readonly samples: Samples;
  /** Throws for whatever must not happen: a crash, an answer INTERNAL, something that was accepted wrongly. */
  run(input: Uint8Array, random: Random): Promise<Outcome> | Outcome;
  close(): Promise<void>;
}

export interface FuzzTarget {
  readonly name: string;
  /** Share of all inputs: what is cheap gets more. */
  readonly weight: number;
  /** `dir`: an empty folder of its own. */
  open(dir: string): Promise<OpenTarget>;
}

/** Something was accepted that should not have been, or was answered as a defect. */
export class FuzzDefect extends Error {}

export const accepted: Outcome = { kind: 'accepted' };

/** Refusals by a code of ours are what is wanted; anything else that is thrown is a crash. */
export async function outcomeOf(work: () => Promise<void> | void): Promise<Outcome> {
  try {
    await work();
    return accepted;
  } catch (error) {
    if (error instanceof BatchError && error.code !== 'INTERNAL') return { kind: 'refused', code: error.code };
    throw error;
  }
}

export function same(found: unknown, wanted: unknown, what: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new FuzzDefect(`${what}: ${a?.slice(0, 500)} instead of ${b?.slice(0, 500)}`);
}

/** What everything behind a deployment that was accepted relies on. */
export function checkSettings(settings: DeploymentSettings): void {
  const { triesMax, timeoutMs, errorThreshold, miniBatchSize, outputFileName, outputAction } = settings;
  const isCount = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least;
  const isSized =
    miniBatchSize.kind === 'auto' ||
    (miniBatchSize.kind === 'seconds' && miniBatchSize.seconds > 0) ||
    (miniBatchSize.kind === 'files' && isCount(miniBatchSize.files, 1)) ||
    (miniBatchSize.kind === 'bytes' && isCount(miniBatchSize.bytes, 1));
  const isNamed = outputAction === 'append_row' ? basename(outputFileName) === outputFileName : outputFileName === '';
  const { memoryBytesMax, instanceCountMax, concurrencyPerInstanceMax, progressTimeoutMs } = settings;
  const bounds = [memoryBytesMax, instanceCountMax, concurrencyPerInstanceMax, progressTimeoutMs];
  const isBounded = bounds.every((bound) => bound === null || isCount(bound, 1));
  if (isBounded && isSized && isNamed && isCount(triesMax, 1) && timeoutMs > 0 && isCount(errorThreshold, -1)) return;
  throw new FuzzDefect(`settings that nothing can go by: ${JSON.stringify(settings)}`);
}

export const nothingOpen = (): Promise<void> => Promise.resolve();
