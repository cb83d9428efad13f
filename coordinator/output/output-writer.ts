/**
 * Writes one job's results: operations are carried out strictly in order, in groups that share one sync of each file they touch,
 * and are reported done when they are on the disk. It never looks into the bytes.
 *
 * States: new → recovered → (stalled ⇄ recovered) → closed, or → dead after a failure that waiting does not heal.
 */
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { delay, type Delay } from '../../common/io/delay.ts';
import { errnoOf, isDiskFull, reasonOf } from '../../common/io/errno.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { copySlices } from './copy-slices.ts';
import { DiskStall } from './disk-stall.ts';
import { operationBytes, planGroup, type OutputOperation, type OutputPlan } from './operations.ts';
import { recoverOutput, type OutputRecovery } from './recover-output.ts';
import { SegmentSink } from './segment-sink.ts';
import { StagingFiles } from './staging-files.ts';

export interface OutputWriterOptions {
  /** Exists; see `prepareOutputDir`. */
  readonly outputDir: string;
  /** Null with output_action summary_only: there are staging segments at most. */
  readonly outputFileName: string | null;
  /** Of this job alone; made when absent. */
  readonly stagingDir: string;
  /** These are on the disk, and all operations before them. */
  readonly onDone: (ids: readonly number[]) => void;
  /** The disk is full (DISK_FULL), or (null) has room again. */
  readonly onStall: (failure: Failure | null) => void;
  /** STATE_UNWRITABLE or OUTPUT_CORRUPT; nothing more will be written. Called once. */
  readonly onFatal: (error: BatchError) => void;
  /** Of the output, from 1. */
  readonly generation?: number;
  /** Earlier outputs that are read as segments are: absolute paths. */
  readonly bases?: ReadonlyMap<number, string>;
  /** Another process may have the files open still; default: none has. */
  readonly isShared?: boolean;
  readonly fileSystem?: FileSystem;
  readonly delay?: Delay;
}

export class OutputWriter {
  readonly #options: Required<OutputWriterOptions>;
  readonly #stop = new AbortController();
  readonly #stall: DiskStall;
  readonly #queue: OutputOperation[] = [];
  readonly #sinks = new Map<number, SegmentSink>();
  #files: StagingFiles | null = null;
  #pendingBytes = 0;
  #draining: Promise<void> | null = null;
  #isClosed = false;
  #isDead = false;

  constructor(given: OutputWriterOptions) {
    this.#options = { fileSystem: nodeFileSystem, delay, generation: 1, bases: new Map(), isShared: false, ...given };
    const { fileSystem, onStall } = this.#options;
    const signal = this.#stop.signal;
    this.#stall = new DiskStall({ fileSystem, delay: this.#options.delay, onStall, signal });
  }

  /** Bytes of operations that are not done yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /**
   * Once, before anything else: brings the files to what the journal says. Waits while the disk is full.
   * @throws OUTPUT_CORRUPT, STATE_UNWRITABLE
   */
  async recover(wanted: OutputRecovery): Promise<void> {
    invariant(this.#files === null, 'an output writer recovers once');
    const { outputDir, stagingDir, fileSystem } = this.#options;
    try {
      const output = await this.#stall.retry([outputDir, stagingDir], () => recoverOutput(this.#options, wanted));
      this.#files = new StagingFiles(fileSystem, stagingDir, wanted.liveSegments, this.#options.bases);
      this.#files.output = output;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  enqueue(operation: OutputOperation): void {
    invariant(this.#files !== null && !this.#isClosed, 'operations come between recover() and close()');
    this.#queue.push(operation);
    this.#pendingBytes += operationBytes(operation);
    this.#kick();
  }

  /** A place for one large result; when all of it has come, `adopt` makes it part of the order. */
  openSegment(segment: number): SegmentSink {
    invariant(this.#files !== null && !this.#isClosed, 'segments are opened between recover() and close()');
    invariant(!this.#sinks.has(segment), `segment ${segment} is open already`);
    const sink = new SegmentSink({
      segment,
      stagingDir: this.#options.stagingDir,
      files: this.#files,
      stall: this.#stall,
      signal: this.#stop.signal,
      onFailure: (error) => this.#die(error),
      onAbandon: () => this.#sinks.delete(segment),
    });
    this.#sinks.set(segment, sink);
    return sink;
  }

  /** Carries out what is queued, unless the disk is full, and lets go of all files. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stop.abort();
    while (this.#draining !== null) await this.#draining;
    await this.#files?.close();
  }

  #kick(): void {
    if (this.#draining !== null || this.#isDead) return;
    this.#draining = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#drain())
      .catch((error: unknown) => this.#die(error))
      .finally(() => {
        this.#draining = null;
        if (this.#queue.length > 0) this.#kick();
      });
  }

  async #drain(): Promise<void> {
    const { outputDir, stagingDir } = this.#options;
    while (this.#queue.length > 0 && !this.#isDead) {
      const group = this.#takeGroup();
      const plan = planGroup(group);
      await this.#stall.retry([outputDir, stagingDir], () => this.#carryOut(plan));
      for (const operation of group) this.#pendingBytes -= operationBytes(operation);
      this.#options.onDone(group.map((operation) => operation.id));
    }
  }

  #takeGroup(): readonly OutputOperation[] {
    let count = 0;
    let bytes = 0;
    for (const operation of this.#queue) {
      bytes += operationBytes(operation);
      if (count > 0 && bytes > limits.outputGroupBytesMax) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** Idempotent, as all offsets are absolute: repeated as a whole when it was refused for want of room. */
  async #carryOut(plan: OutputPlan): Promise<void> {
    const files = this.#files as StagingFiles;
    for (const step of plan.steps) {
      const output = await files.file(step.kind === 'write' ? step.target : null);
      if (step.kind === 'write') await output.write(step.pieces, step.offset);
      else await copySlices(step.from, (segment) => files.segment(segment, 'update'), output, step.toOffset);
    }
    await Promise.all(plan.touched.map(async (target) => (await files.file(target)).datasync()));
    for (const segment of plan.adopted) await this.#adopt(segment);
    await files.syncNames([...plan.touched.filter((target) => target !== null), ...plan.adopted]);
    // Only now is what was copied out of them on the disk.
    for (const segment of plan.dropped) await files.drop(segment);
    await files.trim(new Set(this.#sinks.keys()));
  }

  async #adopt(segment: number): Promise<void> {
    const sink = this.#sinks.get(segment);
    // Gone already when the group is repeated.
    await sink?.sync();
    this.#sinks.delete(segment);
  }

  /** What is not the disk's failure is a programmer's, or came out of a callback: it ends the process by itself. */
  #die(error: unknown): void {
    if (this.#isDead) return;
    this.#isDead = true;
    const isClosing = this.#isClosed && isDiskFull(error);
    this.#stop.abort();
    if (isClosing) return;
    if (!(error instanceof BatchError) && errnoOf(error) === '') throw error;
    this.#options.onFatal(this.#failure(error));
  }

  #failure(error: unknown): BatchError {
    if (error instanceof BatchError) return error;
    const message = `${this.#options.outputDir} cannot be written to: ${reasonOf(error)}`;
    return new BatchError('STATE_UNWRITABLE', message, { cause: error });
  }
}
