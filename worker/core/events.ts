/**
 * Everything that a worker node decides, as plain data. Those marked ORDER are carried out by the shell, in the order in
 * which they come; the others only change the state.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances, Grant, JobSpec, JoinReply, NodeMessage } from '../../common/core/cluster-messages.ts';
import type { Scorer } from '../../common/core/deployment.ts';
import type { JobName, MonotonicMs } from '../../common/core/ids.ts';
import type { InputFile } from '../../common/core/input.ts';
import type { FileFailure } from '../../common/core/result.ts';
import type { Token } from '../../common/core/token.ts';
import type { HeldResult } from './state.ts';

/** Why nothing is kept of a lease any more. */
export type ForgetReason =
  'committed' | 'refused' | 'reported' | 'revoked' | 'returned' | 'not-adopted' | 'job-ended' | 'closed';

export type WorkerEvent =
  /** The node starts; its first join may take until `deadline`. */
  | { readonly kind: 'Began'; readonly deadline: MonotonicMs }
  /** ORDER: open a connection and call Join; answer with `joined` or `join-failed`. */
  | { readonly kind: 'JoinStarted'; readonly attempt: number }
  /** ORDER: open the Work stream; what it says is a `message`, its end `link-lost`. */
  | { readonly kind: 'LinkOpened'; readonly reply: JoinReply; readonly at: MonotonicMs }
  /** The coordinator has spoken. */
  | { readonly kind: 'Heard'; readonly at: MonotonicMs }
  /** ORDER: close what is left of stream and connections; no `link-lost` is due for it. */
  | { readonly kind: 'LinkLost'; readonly failure: Failure; readonly attempt: number; readonly retryAt: MonotonicMs }
  /** ORDER: kill all hosts, close everything; the node ends with `failure`. */
  | { readonly kind: 'GaveUp'; readonly failure: Failure }
  /** ORDER: end the stream in good order, close everything. */
  | { readonly kind: 'Left' }
  /** Another coordinator leads within that time; until it does nobody grants. */
  | { readonly kind: 'HandoverAnnounced'; readonly withinMs: number; readonly at: MonotonicMs }
  | { readonly kind: 'LeavingBegan'; readonly how: 'drain' | 'close' }
  /** What still runs then is killed. */
  | { readonly kind: 'KillSet'; readonly at: MonotonicMs }
  /** ORDER: send it on the Work stream. Bytes of results that are not uploaded go with it. */
  | { readonly kind: 'Reported'; readonly message: NodeMessage; readonly at: MonotonicMs }
  /** The coordinator has answered hello. */
  | { readonly kind: 'AdoptionEnded' }
  | { readonly kind: 'Adopted'; readonly work: number; readonly token: Token }
  /** Given back although nothing of it is here: it was dropped between hello and its answer. */
  | { readonly kind: 'TokenReturned'; readonly token: Token }
  | { readonly kind: 'JobAnnounced'; readonly spec: JobSpec }
  /** ORDER: make model and code available; answer with `artifacts-localised` or `artifacts-failed`. */
  | { readonly kind: 'ArtifactsWanted'; readonly spec: JobSpec }
  | { readonly kind: 'ArtifactsPresent'; readonly job: JobName }
  | {
      readonly kind: 'ArtifactsPutOff';
      readonly job: JobName;
      readonly retryAt: MonotonicMs;
      readonly failure: Failure;
    }
  /** ORDER: remove all files of the job; its hosts were told to stop before. */
  | { readonly kind: 'JobEnded'; readonly job: JobName }
  | { readonly kind: 'LeaseGranted'; readonly work: number; readonly grant: Grant }
  /** ORDER: make the inputs available; answer with `staged` or `staging-failed`. */
  | {
      readonly kind: 'StagingStarted';
      readonly work: number;
      readonly job: JobName;
      readonly inputRoot: string;
      /** Who will read the files. */
      readonly reader: Scorer['kind'];
      readonly token: Token;
      readonly first: number;
      readonly files: readonly InputFile[];
      readonly at: MonotonicMs;
    }
  | { readonly kind: 'StagingPutOff'; readonly work: number; readonly retryAt: MonotonicMs; readonly failure: Failure }
  | {
      readonly kind: 'Staged';
      readonly work: number;
      readonly failed: readonly FileFailure[];
      readonly at: MonotonicMs;
    }
  /** ORDER: start a scoring host; answer with `host-ready` or `host-failed`. */
  | { readonly kind: 'HostStarted'; readonly slot: number; readonly host: number; readonly spec: JobSpec }
  /** Long work before the first mini-batch has moved on; empty when it is over. */
  | { readonly kind: 'PreparationMoved'; readonly job: JobName; readonly text: string }
  | { readonly kind: 'HostReady'; readonly slot: number }
  /** init() failed: reported, and not tried again before `retryAt`. */
  | { readonly kind: 'HostFailed'; readonly job: JobName; readonly failure: Failure; readonly retryAt: MonotonicMs }
  /** ORDER: `stop` in good order or `kill` at once; answer with `host-ended`. What it was scoring is of no interest. */
  | { readonly kind: 'HostStopping'; readonly slot: number; readonly host: number; readonly how: 'stop' | 'kill' }
  | { readonly kind: 'SlotEmptied'; readonly slot: number }
  /** ORDER: score the staged files; answer with `scored` or `attempt-failed`. */
  | {
      readonly kind: 'AttemptStarted';
      readonly work: number;
      readonly slot: number;
      readonly host: number;
      readonly timeoutMs: number;
      readonly at: MonotonicMs;
    }
  /** ORDER: give the host the staged files behind what it is at; answered like `AttemptStarted`, or with `handed-back`. */
  | {
      readonly kind: 'AttemptQueued';
      readonly work: number;
      readonly slot: number;
      readonly host: number;
      readonly timeoutMs: number;
      readonly at: MonotonicMs;
    }
  /** The mini-batch is ready again; its host was dead before it began. */
  | { readonly kind: 'AttemptUndone'; readonly work: number; readonly slot: number; readonly at: MonotonicMs }
  /** The mini-batch is ready again; its host lives and takes nothing behind what it is at. */
  | { readonly kind: 'HandedBack'; readonly work: number; readonly slot: number; readonly at: MonotonicMs }
  /** The host has died of what nobody wants any more. */
  | { readonly kind: 'HostLost'; readonly slot: number; readonly at: MonotonicMs }
  /** ORDER: the staged inputs may go; the result's bytes stay. `slot` is null when no file could be staged. */
  | {
      readonly kind: 'Scored';
      readonly work: number;
      readonly slot: number | null;
      readonly result: HeldResult;
      readonly isQuiet: boolean;
      readonly at: MonotonicMs;
    }
  /** ORDER: the staged inputs may go. `slot` is null when the attempt never reached one. */
  | {
      readonly kind: 'AttemptFailed';
      readonly work: number;
      readonly slot: number | null;
      readonly failure: Failure;
      readonly fileIndex: number;
      readonly circumstances: Circumstances;
      readonly isHostDead: boolean;
      readonly at: MonotonicMs;
    }
  /** ORDER: upload the result's bytes; answer with `uploaded` or `upload-failed`. */
  | { readonly kind: 'UploadStarted'; readonly work: number; readonly upload: number; readonly token: Token }
  | { readonly kind: 'Uploaded'; readonly work: number }
  | { readonly kind: 'UploadPutOff'; readonly work: number; readonly retryAt: MonotonicMs; readonly failure: Failure }
  /** ORDER: give up staging and upload of it, if any is under way, and remove its inputs and its result. */
  | { readonly kind: 'Forgotten'; readonly work: number; readonly token: Token; readonly reason: ForgetReason };

export type EventOf<K extends WorkerEvent['kind']> = Extract<WorkerEvent, { readonly kind: K }>;
