/** What a simulated worker node keeps for each lease: staged inputs, then the result's bytes, then their upload. */
import { BatchError } from '../../common/core/batch-error.ts';
import { invariant } from '../../common/core/invariant.ts';
import type { FileFailure } from '../../common/core/result.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { EventOf } from '../../worker/core/events.ts';
import { FetchedInput } from './fetched-input.ts';
import type { FetchChannel } from './fetch-channel.ts';
import type { Part, SimBody, SimInput } from './sim-input.ts';
import type { UploadChannel } from './upload-channel.ts';
import type { Random } from './world.ts';

export interface WorkerWorksOptions {
  readonly input: SimInput;
  readonly random: Random;
  /** Files come from the coordinator. */
  readonly isRemote: boolean;
  /** Null while there is no session. */
  readonly bulk: () => UploadChannel | null;
  readonly fetches: () => FetchChannel | null;
  /** Milliseconds of the node's own clock. */
  readonly later: (delayMs: number, what: () => void) => void;
  readonly tell: (command: WorkerCommand) => void;
}

interface Work extends Staged {
  /** Under way. */
  fetch: FetchedInput | null;
  bytes: Buffer | null;
  /** Whose user code wrote files for the result; null when it wrote none. */
  customHost: number | null;
}

/** What is at hand for an attempt. */
export interface Staged {
  /** Ordinals of files. */
  staged: readonly number[];
  /** Rows that a part of the output is made from; null where files are scored. */
  part: Part | null;
}

const nothing = Buffer.alloc(0);

export class WorkerWorks {
  readonly #options: WorkerWorksOptions;
  readonly #works = new Map<number, Work>();

  constructor(options: WorkerWorksOptions) {
    this.#options = options;
  }

  clear(): void {
    for (const { fetch } of this.#works.values()) fetch?.cancel();
    this.#works.clear();
  }

  /** Told as `staged` or `staging-failed`. */
  stage({ work: number, first, files }: EventOf<'StagingStarted'>): void {
    const { input, isRemote, bulk, later, tell, random } = this.#options;
    // Files of other jobs are known by numbers of their own.
    const ordinals = Array.from(files, ({ path }, index) => Number(/^f(\d+)$/.exec(path)?.[1] ?? first + index));
    const work = this.#work(number);
    const isReadable = (file: number): boolean => input.fateOf(file) !== 'unreadable';
    const failed = ordinals.flatMap((file, index): FileFailure[] =>
      isReadable(file) ? [] : [{ index, code: 'INPUT_UNREADABLE', message: 'EACCES' }],
    );
    later(random.between(1, 30), () => {
      if (this.#works.get(number) !== work) return;
      if (isRemote && !bulk()) {
        const failure = new BatchError('COORDINATOR_UNREACHABLE', 'there is no connection').toFailure();
        return tell({ kind: 'staging-failed', work: number, failure });
      }
      work.staged = ordinals.filter(isReadable);
      tell({ kind: 'staged', work: number, failed });
    });
  }

  /** The same for rows of the job, which nobody sees but the coordinator. */
  fetch({ work: number, job, first, files }: EventOf<'StagingStarted'>): void {
    const { fetches, later, tell } = this.#options;
    const [file] = files;
    invariant(file !== undefined && files.length === 1, 'each part is a mini-batch of its own');
    const work = this.#work(number);
    work.fetch = new FetchedInput({
      ...{ channel: fetches, later, file, request: { job, ordinal: first, identity: file.identity } },
      onDone: (data) => {
        work.fetch = null;
        work.part = { name: file.path, data };
        tell({ kind: 'staged', work: number, failed: [] });
      },
      onFailed: (error) => {
        work.fetch = null;
        const { code, message, rule } = error;
        if (rule.category === 'input') tell({ kind: 'staged', work: number, failed: [{ index: 0, code, message }] });
        else tell({ kind: 'staging-failed', work: number, failure: error.toFailure() });
      },
    });
  }

  #work(number: number): Work {
    const work = this.#works.get(number) ?? { staged: [], part: null, fetch: null, bytes: null, customHost: null };
    this.#works.set(number, work);
    return work;
  }

  stagedOf(number: number): Staged {
    const { staged = [], part = null } = this.#works.get(number) ?? {};
    return { staged, part };
  }

  /** Keeps a result until its work is forgotten; one that is forgotten already goes at once. */
  keep(number: number, host: number, { rows, custom }: SimBody): void {
    const work = this.#works.get(number);
    if (!work) return;
    work.bytes = Buffer.concat([rows, custom]);
    work.customHost = custom.length > 0 ? host : null;
  }

  /** All bytes of a result; none for one that was made without a host. */
  bytesOf(number: number): Buffer {
    return this.#works.get(number)?.bytes ?? nothing;
  }

  /** Told as `uploaded` or `upload-failed`. */
  upload({ work: number, upload, token }: EventOf<'UploadStarted'>): void {
    const { bulk, tell } = this.#options;
    const bytes = this.#works.get(number)?.bytes;
    if (!bytes) return;
    bulk()?.upload(token, bytes, (error) => {
      if (!error) return tell({ kind: 'uploaded', work: number, upload });
      tell({ kind: 'upload-failed', work: number, upload, failure: error.toFailure() });
    });
  }

  /** Gives the host whose folder holds files that will not be published; null when there is none. */
  forget({ work: number, token, reason }: EventOf<'Forgotten'>): number | null {
    const work = this.#works.get(number);
    this.#works.delete(number);
    work?.fetch?.cancel();
    this.#options.bulk()?.abort(token);
    return reason === 'committed' ? null : (work?.customHost ?? null);
  }
}
