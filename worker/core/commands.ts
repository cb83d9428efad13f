/** Everything that can happen to a worker node, as plain data. */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances, CoordinatorMessage, JoinReply } from '../../common/core/cluster-messages.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { FileFailure } from '../../common/core/result.ts';
import type { HeldResult } from './state.ts';

export type WorkerCommand =
  /** First of all. */
  | { readonly kind: 'begin' }
  | { readonly kind: 'joined'; readonly reply: JoinReply }
  /** `random`: from 0 to below 1; spreads the nodes that try again. */
  | { readonly kind: 'join-failed'; readonly failure: Failure; readonly random: number }
  | { readonly kind: 'link-lost'; readonly failure: Failure; readonly random: number }
  | { readonly kind: 'message'; readonly message: CoordinatorMessage }
  | { readonly kind: 'artifacts-localised'; readonly job: JobName }
  | { readonly kind: 'artifacts-failed'; readonly job: JobName; readonly failure: Failure }
  /** `failed`: files that cannot be had, by place in the mini-batch; all others are at hand. */
  | { readonly kind: 'staged'; readonly work: number; readonly failed: readonly FileFailure[] }
  | { readonly kind: 'staging-failed'; readonly work: number; readonly failure: Failure }
  | { readonly kind: 'host-ready'; readonly slot: number; readonly host: number }
  /** init() failed, or the host could not be started; there is no process any more. */
  | { readonly kind: 'host-failed'; readonly slot: number; readonly host: number; readonly failure: Failure }
  /** How far an environment of the job is; empty when it is done or given up. */
  | { readonly kind: 'preparing'; readonly job: JobName; readonly text: string }
  /** A host that was told to stop is gone, or an idle one died. */
  | { readonly kind: 'host-ended'; readonly slot: number; readonly host: number }
  /** The summary is of the staged files only. */
  | {
      readonly kind: 'scored';
      readonly slot: number;
      readonly host: number;
      readonly work: number;
      readonly result: HeldResult;
      /** The host takes mini-batches before it has answered the last, and user code has left no trace but the rows. */
      readonly isQuiet: boolean;
    }
  /** `fileIndex` is among the staged files; −1 when unknown. */
  | {
      readonly kind: 'attempt-failed';
      readonly slot: number;
      readonly host: number;
      readonly work: number;
      readonly failure: Failure;
      readonly fileIndex: number;
      /** `runSeconds` is the core's to say. */
      readonly circumstances: Omit<Circumstances, 'runSeconds'>;
      readonly isHostDead: boolean;
    }
  /** The host has not begun what was queued on it, and will not. */
  | { readonly kind: 'handed-back'; readonly slot: number; readonly host: number; readonly work: number }
  /** The host was found dead before it was given the mini-batch, which is not to blame. */
  | { readonly kind: 'attempt-unstarted'; readonly slot: number; readonly host: number; readonly work: number }
  | { readonly kind: 'uploaded'; readonly work: number; readonly upload: number }
  | { readonly kind: 'upload-failed'; readonly work: number; readonly upload: number; readonly failure: Failure }
  /** The time of {@link nextWake} has come. */
  | { readonly kind: 'tick'; readonly rssBytes: number; readonly random: number }
  /** Everything that came at once has been told: time to report. */
  | { readonly kind: 'turn-ended' }
  /** Finish what is running, return the rest, leave. `withinMs`: what still runs then is killed; null or absent: nothing is. */
  | { readonly kind: 'drain'; readonly withinMs?: number | null }
  /** Leave now: what is running is killed and returned. */
  | { readonly kind: 'close' };

export type CommandOf<K extends WorkerCommand['kind']> = Extract<WorkerCommand, { readonly kind: K }>;
