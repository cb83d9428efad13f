/** What the shell keeps for each lease: staged inputs, then the result's bytes, then their upload. */
import { toBatchError } from '../common/core/batch-error.ts';
import type { HostFile } from '../common/core/host-protocol.ts';
import { invariant } from '../common/core/invariant.ts';
import type { Token } from '../common/core/token.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { BulkLink } from './bulk-link.ts';
import type { WorkerCommand } from './core/commands.ts';
import type { EventOf } from './core/events.ts';
import type { NodeFiles } from './node-files.ts';
import type { ResultBody } from './pool/result-body.ts';
import type { InputStager, StagedInputs } from './staging/input-stager.ts';

export interface WorkTableOptions {
  readonly stager: InputStager;
  readonly files: NodeFiles;
  readonly log: Log;
  readonly tell: (command: WorkerCommand) => void;
}

interface Work {
  /** Ends staging and upload. */
  readonly over: AbortController;
  inputs: StagedInputs | null;
  body: ResultBody | null;
}

export class WorkTable {
  readonly #options: WorkTableOptions;
  readonly #works = new Map<number, Work>();
  /** What is being removed. */
  readonly #removals = new Set<Promise<void>>();

  constructor(options: WorkTableOptions) {
    this.#options = options;
  }

  /** Told as `staged` or `staging-failed`. `ready`: the scratch folder may be written to. */
  stage(order: EventOf<'StagingStarted'>, ready: Promise<void>): void {
    const work = this.#works.get(order.work) ?? { over: new AbortController(), inputs: null, body: null };
    this.#works.set(order.work, work);
    void this.#stage(order, work, ready);
  }

  /** The staged files, as the scoring host gets them. */
  inputsOf(number: number): readonly HostFile[] {
    const inputs = this.#works.get(number)?.inputs;
    invariant(inputs !== null && inputs !== undefined, `the inputs of work ${number} are not staged`);
    return inputs.files;
  }

  /** Inputs are needed no more. */
  releaseInputs(number: number): void {
    const work = this.#works.get(number);
    if (!work?.inputs) return;
    this.#remove(work.inputs.release());
    work.inputs = null;
  }

  /** Keeps a result until its work is forgotten; one that is forgotten already goes at once. */
  keep(number: number, body: ResultBody): void {
    const work = this.#works.get(number);
    if (work) work.body = body;
    else this.#remove(body.discard());
  }

  /** Bytes of a small result; none for one that was made without a host. */
  inlineOf(number: number): Uint8Array {
    const body = this.#works.get(number)?.body;
    if (!body) return new Uint8Array(0);
    const inline = body.inline();
    invariant(inline !== null, `the ${body.bytes} bytes of work ${number} do not go inline`);
    return inline;
  }

  /** Told as `uploaded` or `upload-failed`. */
  upload({ work: number, upload, token }: EventOf<'UploadStarted'>, link: BulkLink): void {
    void this.#upload(number, upload, token, link);
  }

  forget(number: number): void {
    const work = this.#works.get(number);
    if (!work) return;
    this.#works.delete(number);
    work.over.abort(new Error(`work ${number} is over`));
    if (work.inputs) this.#remove(work.inputs.release());
    if (work.body) this.#remove(work.body.discard());
  }

  /** Forgets everything; resolves when nothing of it is left on disk. */
  async close(): Promise<void> {
    for (const number of [...this.#works.keys()]) this.forget(number);
    await Promise.all(this.#removals);
  }

  async #stage(order: EventOf<'StagingStarted'>, work: Work, ready: Promise<void>): Promise<void> {
    const { stager, files, tell } = this.#options;
    const { signal } = work.over;
    const dir = files.inputsDir(order.job, order.token);
    try {
      await ready;
      const inputs = await stager.stage({ ...order, dir, signal });
      if (signal.aborted) return this.#remove(inputs.release());
      work.inputs = inputs;
      tell({ kind: 'staged', work: order.work, failed: inputs.failed });
    } catch (error) {
      if (signal.aborted) return;
      tell({ kind: 'staging-failed', work: order.work, failure: toBatchError(error).toFailure() });
    }
  }

  async #upload(number: number, upload: number, token: Token, link: BulkLink): Promise<void> {
    const { tell } = this.#options;
    const work = this.#works.get(number);
    const body = work?.body;
    if (!work || !body) return;
    try {
      await link.upload(token, { bytes: body.bytes, pieces: () => body.pieces() }, work.over.signal);
      tell({ kind: 'uploaded', work: number, upload });
    } catch (error) {
      tell({ kind: 'upload-failed', work: number, upload, failure: toBatchError(error).toFailure() });
    }
  }

  #remove(removal: Promise<void>): void {
    const watched = removal
      .catch((error: unknown) => this.#options.log.warn('a file cannot be removed', { reason: reasonOf(error) }))
      .finally(() => this.#removals.delete(watched));
    this.#removals.add(watched);
  }
}
