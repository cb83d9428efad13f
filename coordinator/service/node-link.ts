/**
 * The coordinator's end of one worker node's control stream. What is said within one turn goes in one message; a slow
 * reader is waited for, so that nothing piles up in the transport.
 */
import { emptyCoordinatorMessage, type CoordinatorMessage } from '../../common/core/cluster-messages.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';

export interface NodeLinkOptions {
  readonly node: NodeName;
  /** Returns false when the transport wants a pause, which `resume` ends. */
  readonly write: (message: CoordinatorMessage) => boolean;
  readonly end: () => void;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };
type Pending = Mutable<CoordinatorMessage>;

function nothing(): Pending {
  return {
    ...emptyCoordinatorMessage,
    jobs: [],
    grants: [],
    committed: [],
    refused: [],
    revoked: [],
    recalled: [],
    endedJobs: [],
    drainedJobs: [],
    diagnose: [],
  };
}

export class NodeLink {
  readonly node: NodeName;
  readonly #options: NodeLinkOptions;
  /** Jobs that the node has been told of on this stream. */
  readonly announced: Set<string> = new Set();
  #pending: Pending = nothing();
  #grantedFiles = 0;
  #isEmpty = true;
  #isScheduled = false;
  #isPaused = false;
  #isClosed = false;
  #queue: CoordinatorMessage[] = [];

  constructor(options: NodeLinkOptions) {
    this.node = options.node;
    this.#options = options;
  }

  /** Adds to the message of this turn. */
  send(part: Partial<CoordinatorMessage>): void {
    if (this.#isClosed) return;
    const files = part.grants === undefined ? 0 : filesOf(part.grants);
    const isFull =
      this.#pending.grants.length >= limits.grantsPerMessageMax ||
      this.#grantedFiles + files > limits.grantFilesPerMessageMax;
    // The end of a job is read last in a message, and the job may have begun anew.
    const isAgain = part.jobs?.some(({ name }) => this.#pending.endedJobs.includes(name)) ?? false;
    if (((files > 0 && isFull) || isAgain) && !this.#isEmpty) this.#seal();
    addTo(this.#pending, part);
    this.#grantedFiles += files;
    this.#isEmpty = false;
    this.#schedule();
  }

  /** The transport takes messages again. */
  resume(): void {
    this.#isPaused = false;
    this.#flush();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue = [];
    this.#options.end();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #seal(): void {
    this.#queue.push(this.#pending);
    this.#pending = nothing();
    this.#grantedFiles = 0;
    this.#isEmpty = true;
  }

  #flush(): void {
    if (this.#isClosed || this.#isPaused) return;
    if (!this.#isEmpty) this.#seal();
    while (this.#queue.length > 0 && !this.#isPaused) {
      this.#isPaused = !this.#options.write(this.#queue.shift() as CoordinatorMessage);
    }
  }
}

function filesOf(grants: CoordinatorMessage['grants']): number {
  let files = 0;
  for (const grant of grants) files += grant.files.length;
  return files;
}

/** Most parts are one commit or one grant, and each mini-batch has both. */
function addTo(pending: Pending, part: Partial<CoordinatorMessage>): void {
  if (part.committed) pending.committed.push(...part.committed);
  if (part.grants) pending.grants.push(...part.grants);
  if (part.jobs) pending.jobs.push(...part.jobs);
  if (part.refused) pending.refused.push(...part.refused);
  if (part.revoked) pending.revoked.push(...part.revoked);
  if (part.recalled) pending.recalled.push(...part.recalled);
  if (part.endedJobs) pending.endedJobs.push(...part.endedJobs);
  if (part.drainedJobs) pending.drainedJobs.push(...part.drainedJobs);
  if (part.diagnose) pending.diagnose.push(...part.diagnose);
  pending.heartbeatAck = part.heartbeatAck ?? pending.heartbeatAck;
  pending.isDrain ||= part.isDrain ?? false;
  pending.drainMs = part.drainMs ?? pending.drainMs ?? null;
  pending.handoverMs = part.handoverMs ?? pending.handoverMs ?? null;
  if (part.adoption) pending.adoption = [...(pending.adoption ?? []), ...part.adoption];
}
