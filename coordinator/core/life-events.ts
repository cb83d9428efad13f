/** What people do to a job after it was submitted, as journaled events: pause, reopen, prune. */
import type { Deployment } from '../../common/core/deployment.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { Token } from '../../common/core/token.ts';

/** `rest`: all that is not committed. `failed`: that, and what is committed with files that the scorer gave up. */
export type ReopenScope = 'rest' | 'failed';

/** An earlier output of the job, from which committed rows are copied as from a staging segment. */
export interface OutputBase {
  readonly segment: number;
  /** Name in the output folder. */
  readonly file: string;
}

export type LifeEvent =
  /** Nothing of the job is granted while it is paused; what runs goes on. */
  | { readonly kind: 'JobPaused'; readonly job: JobName; readonly isPaused: boolean }
  /** A job that had ended goes on. */
  | {
      readonly kind: 'JobReopened';
      readonly job: JobName;
      readonly scope: ReopenScope;
      readonly deployment: Deployment;
      readonly generation: number;
      /** Null: the output goes on where it ended. */
      readonly base: OutputBase | null;
      /** Leases up to this one are of the time before. */
      readonly after: Token;
      /** As many jobs of its endpoint run as may: it stays Preparing until one has ended. */
      readonly waits?: true;
    }
  /**
   * `count` neighbours in the order, from `batch` on, are cut anew into these sizes, or, with `fileBytes`, the size of each
   * of their files, into one run that is uncut. None of them is committed. `sizesBytes` is absent in older records.
   */
  | {
      readonly kind: 'Recut';
      readonly job: JobName;
      readonly batch: number;
      readonly count: number;
      readonly sizes: readonly number[];
      readonly sizesBytes?: readonly number[];
      readonly fileBytes?: readonly number[];
    }
  /** Nobody will ask for the job again. */
  | { readonly kind: 'JobPruned'; readonly job: JobName };
