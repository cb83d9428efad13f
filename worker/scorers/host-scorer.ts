/** What the scoring host asks of a scorer, whichever kind it is. */
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { ResultSummary } from '../../common/core/result.ts';

/** Where a mini-batch's doings go while it is scored. */
export interface ScorePort {
  /**
   * The file at this place of the mini-batch is begun now: should the process die, this is the one it held. `isSafe`: it is only read, and
   * looked at by code of ours, which cannot end the process; the worker node hears of such files when one is not, or the model runs.
   */
  begin(index: number, isSafe?: boolean): void;
  /** The next rows in order, as they will stand in the file; waits while the worker node is behind. */
  emit(pieces: Iterable<Uint8Array>): Promise<void>;
}

export interface Scored extends Omit<ResultSummary, 'runSeconds' | 'peakMemoryBytes'> {
  /** Paths within the custom folder that were opened for appending; left out by scorers that write no files. */
  readonly appended?: readonly string[];
  /** Rows of a call that were found to be best since the answer before. */
  readonly callSize?: number;
}

/** A scorer whose init() is done. One mini-batch at a time. */
export interface HostScorer {
  /**
   * Scores a mini-batch. Files that fail alone are named in the answer; a throw fails the mini-batch, and rows that were
   * emitted before it count for nothing. `columns`: what the rows are to be widened to; null: nothing.
   */
  score(files: readonly HostFile[], port: ScorePort, columns: readonly string[] | null): Promise<Scored>;
  /** Calls the user's shutdown(), or frees the model. */
  close(): Promise<void>;
}
