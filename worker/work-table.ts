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
  readonly over: Over;
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
    const work = this.#works.get(order.work) ?? { over: new Over(), inputs: null, body: null };
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
    this.#release(work.inputs);
    work.inputs = null;
  }

  /** Keeps a result until its work is forgotten; one that is forgotten already goes at once. */
  keep(number: number, body: ResultBody): void {
    const work = this.#works.get(number);
    if (work) work.body = body;
    else this.#discard(body);
  }

  /** Of a result that nobody waits for. */
  drop(body: ResultBody): void {
    this.#discard(body);
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
    work.over.end();
    if (work.inputs) this.#release(work.inputs);
    if (work.body) this.#discard(work.body);
  }

  /** Forgets everything; resolves when nothing of it is left on disk. */
  async close(): Promise<void> {
    for (const number of [...this.#works.keys()]) this.forget(number);
    await Promise.all(this.#removals);
    await this.#options.stager.close();
  }

  async #stage(order: EventOf<'StagingStarted'>, work: Work, ready: Promise<void>): Promise<void> {
    const { stager, files, tell } = this.#options;
    const { over } = work;
    const { job, inputRoot, reader, first, files: wanted } = order;
    const dir = files.inputsDir(job, order.token);
    try {
      await ready;
      const request = { job, inputRoot, reader, first, files: wanted, dir, signalOf: () => over.signal };
      const inputs = await stager.stage(request);
      if (over.isOver) return this.#release(inputs);
      work.inputs = inputs;
      tell({ kind: 'staged', work: order.work, failed: inputs.failed });
    } catch (error) {
      if (over.isOver) return;
      tell({ kind: 'staging-failed', work: order.work, failure: toBatchError(error).toFailure() });
    }
  }

  async #upload(number: number, upload: number, token: Token, link: BulkLink): Promise<void> {
    const { tell } = this.#options;
    const work = this.#works.get(number);
    const body = work?.body;
    if (!work || !body) return;
    try {
      await link.upload(
        token,
        { bytes: body.bytes, chunks: (chunkBytes) => body.chunks(chunkBytes) },
        work.over.signal,
      );
      tell({ kind: 'uploaded', work: number, upload });
    } catch (error) {
      tell({ kind: 'upload-failed', work: number, upload, failure: toBatchError(error).toFailure() });
    }
  }

  #release(inputs: StagedInputs): void {
    if (inputs.release) this.#remove(inputs.release());
  }

  #discard(body: ResultBody): void {
    const removal = body.discard();
    // What has no file is gone already.
    if (body.isSpooled) this.#remove(removal);
  }

  #remove(removal: Promise<void>): void {
    const watched = removal
      .catch((error: unknown) => this.#options.log.warn('a file cannot be removed', { reason: reasonOf(error) }))
      .finally(() => this.#removals.delete(watched));
    this.#removals.add(watched);
  }
}

/** Ends staging and upload. Its signal is made for whoever waits on something: most mini-batches never do. */
class Over {
  isOver = false;
  #controller: AbortController | null = null;

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.isOver) this.#controller.abort(new Error('the work is over'));
    return this.#controller.signal;
  }

  end(): void {
    this.isOver = true;
    this.#controller?.abort(new Error('the work is over'));
  }
}
