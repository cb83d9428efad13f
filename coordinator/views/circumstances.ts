/** What is known of a failed attempt, as callers and files see it. */
import type { Circumstances } from '../../common/core/cluster-messages.ts';

/** Of the last try; null where it is not known. */
export interface CircumstancesView {
  /** Inside run(), of the whole mini-batch. */
  readonly run_seconds: number | null;
  /** Of the scoring host with all that it started. */
  readonly peak_memory_bytes: number | null;
  /** How the scoring host ended: `signal SIGSEGV`, `exit code 3`; null when it lived on. */
  readonly host_exit: string | null;
}

export function circumstancesView(circumstances: Circumstances | null): CircumstancesView {
  return {
    run_seconds: circumstances?.runSeconds ?? null,
    peak_memory_bytes: circumstances?.peakMemoryBytes ?? null,
    host_exit: circumstances?.hostExit ?? null,
  };
}
