/** Takes one large result as it is uploaded into a staging segment of its own. */
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import { isDiskFull } from '../../common/io/errno.ts';
import type { OpenFile } from '../../common/ports/file-system.ts';
import type { DiskStall } from './disk-stall.ts';
import type { StagingFiles } from './staging-files.ts';

export interface SegmentSinkOptions {
  readonly segment: number;
  readonly stagingDir: string;
  readonly files: StagingFiles;
  readonly stall: DiskStall;
  /** Of the writer: it is closed or has failed. */
  readonly signal: AbortSignal;
  readonly onFailure: (error: unknown) => void;
  readonly onAbandon: () => void;
}

export class SegmentSink {
  readonly #options: SegmentSinkOptions;
  readonly #abandoned = new AbortController();
  /** Closed, failed or abandoned: no use in waiting any longer. */
  readonly #over: AbortSignal;
  /** Of the last write, so that bytes reach the file in the order in which they came. */
  #tail: Promise<void> = Promise.resolve();
  #end = 0;
  #crc = 0;
  #syncedEnd = -1;

  constructor(options: SegmentSinkOptions) {
    this.#options = options;
    this.#over = AbortSignal.any([options.signal, this.#abandoned.signal]);
  }

  /**
   * Resolves when the bytes have their place; waits while the disk is full.
   * @throws REQUEST_INVALID when `offset` is not where the bytes before have ended
   */
  write(offset: number, bytes: Uint8Array): Promise<void> {
    if (offset !== this.#end) {
      const message = `a piece of result begins at byte ${offset}, wanted is ${this.#end}; the upload starts again from 0`;
      return Promise.reject(new BatchError('REQUEST_INVALID', message));
    }
    this.#end += bytes.length;
    return this.#inOrder(async () => {
      const file = await this.#file(offset === 0);
      await file.write([bytes], offset);
      this.#crc = crc32(bytes, this.#crc);
    });
  }

  /** Makes all bytes durable and returns their CRC-32. */
  async sync(): Promise<number> {
    await this.#inOrder(async () => {
      if (this.#syncedEnd === this.#end) return;
      await (await this.#file(this.#end === 0)).datasync();
      this.#syncedEnd = this.#end;
    });
    return this.#crc;
  }

  /** The result is not wanted any more: its file goes. */
  async abandon(): Promise<void> {
    this.#abandoned.abort();
    await this.#tail.catch(() => undefined);
    this.#options.onAbandon();
    await this.#options.files.drop(this.#options.segment);
  }

  /** A write that was given up while it waited for room has failed of nothing that its caller could mend. */
  readonly #unwanted = (error: unknown): never => {
    if (!this.#abandoned.signal.aborted || !isDiskFull(error)) throw error;
    throw new BatchError('LEASE_STALE', 'the result is not wanted any more', { cause: error });
  };

  #file(isNew: boolean): Promise<OpenFile> {
    return this.#options.files.segment(this.#options.segment, isNew ? 'replace' : 'update');
  }

  #inOrder(work: () => Promise<void>): Promise<void> {
    const { stall, stagingDir, onFailure } = this.#options;
    const done = this.#tail.then(() => stall.retry([stagingDir], work, this.#over)).catch(this.#unwanted);
    done.catch((error: unknown) => {
      if (!this.#over.aborted) onFailure(error);
    });
    this.#tail = done;
    return done;
  }
}
