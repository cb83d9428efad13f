/** What a simulated worker node keeps for each lease: staged inputs, then the result's bytes, then their upload. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { FileFailure } from '../../common/core/result.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { EventOf } from '../../worker/core/events.ts';
import type { SimBody, SimInput } from './sim-input.ts';
import type { UploadChannel } from './upload-channel.ts';
import type { Random } from './world.ts';

export interface WorkerWorksOptions {
  readonly input: SimInput;
  readonly random: Random;
  /** Files come from the coordinator. */
  readonly isRemote: boolean;
  /** Null while there is no session. */
  readonly bulk: () => UploadChannel | null;
  /** Milliseconds of the node's own clock. */
  readonly later: (delayMs: number, what: () => void) => void;
  readonly tell: (command: WorkerCommand) => void;
}

interface Work {
  staged: readonly number[];
  bytes: Buffer | null;
  /** Whose user code wrote files for the result; null when it wrote none. */
  customHost: number | null;
}

const nothing = Buffer.alloc(0);

export class WorkerWorks {
  readonly #options: WorkerWorksOptions;
  readonly #works = new Map<number, Work>();

  constructor(options: WorkerWorksOptions) {
    this.#options = options;
  }

  clear(): void {
    this.#works.clear();
  }

  /** Told as `staged` or `staging-failed`. */
  stage({ work: number, first, files }: EventOf<'StagingStarted'>): void {
    const { input, isRemote, bulk, later, tell, random } = this.#options;
    const ordinals = Array.from(files, (_, index) => first + index);
    const work: Work = this.#works.get(number) ?? { staged: [], bytes: null, customHost: null };
    this.#works.set(number, work);
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

  stagedOf(number: number): readonly number[] {
    return this.#works.get(number)?.staged ?? [];
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
    this.#options.bulk()?.abort(token);
    return reason === 'committed' ? null : (work?.customHost ?? null);
  }
}
