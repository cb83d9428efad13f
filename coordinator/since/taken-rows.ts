/**
 * Takes rows out of an earlier output for the files of a page that are still the same. Segments that are whole stay where they are and are
 * only checked; rows that stand among others are cut out, into a file of the job's own.
 */
import { basename, dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { isBatchError } from '../../common/core/batch-error.ts';
import type { OutputFormat } from '../../common/core/deployment.ts';
import type { InputFile } from '../../common/core/input.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import { limits } from '../../common/core/limits.ts';
import { prologueBytes } from '../../common/format/prologue.ts';
import { sliceRows } from '../../common/format/row-slice.ts';
import type { Log } from '../../common/io/log.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { noPlace, type Place } from '../core/batch-table.ts';
import { sinceSegment, takenSegment, type Since, type TakenRun } from '../core/since.ts';
import type { SegmentLine } from '../output/sealed-lines.ts';
import { hex32 } from '../output/segments.ts';
import { readManifest } from './earlier-output.ts';
import { EarlierRows, type EarlierRun } from './earlier-rows.ts';

export interface TakenRowsOptions {
  readonly since: Since;
  readonly format: OutputFormat;
  /** Of the listing. */
  readonly selection: InputSelection;
  readonly fileSystem: FileSystem;
  readonly log: Log;
}

const blockBytes = 1_048_576;

export class TakenRows {
  readonly #options: TakenRowsOptions;
  readonly #rows: EarlierRows;
  readonly #from: OpenFile;
  readonly #to: OpenFile;
  #end: number;
  /** The segment that was looked at last; rows null: not read, or not as sealed. */
  #last: { readonly line: SegmentLine; readonly isSound: boolean; readonly rows: Buffer | null } | null = null;

  private constructor(options: TakenRowsOptions, rows: EarlierRows, from: OpenFile, to: OpenFile, end: number) {
    this.#options = options;
    this.#rows = rows;
    this.#from = from;
    this.#to = to;
    this.#end = end;
  }

  /** @throws SINCE_UNUSABLE, and the disk's own errors */
  static async open(options: TakenRowsOptions): Promise<TakenRows> {
    const { since, fileSystem, selection } = options;
    const manifest = await readManifest(fileSystem, since.dir);
    // A list has an order of its own.
    const isOrdered = selection.list === null && (manifest.input_selection?.list ?? null) === null;
    const rows = await EarlierRows.open({ fileSystem, dir: since.dir, manifest, isOrdered });
    const from = await fileSystem.open(since.rowsPath, 'read');
    const to = await fileSystem.open(since.takenPath, 'create');
    await fileSystem.syncDir(dirname(since.takenPath));
    // What a page had cut out that a crash has taken back stays there, unused.
    return new TakenRows(options, rows, from, to, await to.sizeBytes());
  }

  /** Which files of the page may take rows; pages in input order, each once. */
  async runsOf(page: readonly InputFile[]): Promise<readonly EarlierRun[]> {
    return await this.#rows.runsOf(page);
  }

  /** Their rows: on the disk when it resolves. May be called again when it has failed. */
  async take(runs: readonly EarlierRun[]): Promise<readonly TakenRun[]> {
    const taken: TakenRun[] = [];
    const begin = this.#end;
    for (const run of runs) {
      const place = await this.#placeOf(run);
      if (place === null) continue;
      const { at, files, rows, fileRows } = run;
      taken.push({ at, files, rows, fileRows, place });
    }
    if (this.#end > begin) await this.#to.datasync();
    return taken;
  }

  async close(): Promise<void> {
    this.#last = null;
    await this.#from.close();
    await this.#to.close();
  }

  /** Null for rows that are not as they were sealed, or cannot be cut out: their files are scored. */
  async #placeOf({ segment, isWhole, rowsBefore, rows }: EarlierRun): Promise<Place | null> {
    if (isWhole) {
      const { isSound } = await this.#look(segment, false);
      if (!isSound) return null;
      const { offset, bytes: length, crc32: crc } = segment;
      return length === 0 ? noPlace : { segment: sinceSegment, offset, length, crc32: Number.parseInt(crc, 16) };
    }
    if (rows === 0) return noPlace;
    const found = await this.#look(segment, true);
    if (found.rows === null) return null;
    const bytes = await this.#slice(found.rows, rowsBefore, rows);
    if (bytes === null) return null;
    const offset = this.#end;
    await this.#to.write([bytes], offset);
    this.#end += bytes.length;
    return { segment: takenSegment, offset, length: bytes.length, crc32: crc32(bytes) };
  }

  async #slice(bytes: Buffer, rowsBefore: number, rows: number): Promise<Buffer | null> {
    const { since, format, log } = this.#options;
    try {
      return await sliceRows(bytes, prologueBytes(since.schema ?? undefined), format, rowsBefore, rows);
    } catch (error) {
      if (!isBatchError(error, 'OUTPUT_CORRUPT')) throw error;
      log.warn('rows cannot be cut out of the earlier output; their files are scored again', { reason: error.message });
      return null;
    }
  }

  async #look(line: SegmentLine, wantsRows: boolean): Promise<{ isSound: boolean; rows: Buffer | null }> {
    const last = this.#last;
    if (last?.line.first === line.first && (last.rows !== null || !wantsRows || !last.isSound)) return last;
    const isKept = wantsRows && line.bytes <= limits.takenSegmentBytesMax;
    const rows = isKept ? Buffer.allocUnsafe(line.bytes) : null;
    const isSound = (await this.#crcOf(line, rows)) === line.crc32;
    if (!isSound) {
      const path = join(basename(this.#options.since.dir), basename(this.#options.since.rowsPath));
      this.#options.log.warn('rows of the earlier output are not what was sealed; their files are scored again', {
        ...{ file: path, offset: line.offset, bytes: line.bytes, first: line.first, files: line.files },
      });
    }
    this.#last = { line, isSound, rows: isSound ? rows : null };
    return this.#last;
  }

  /** Eight hex digits; empty when the file ends before. */
  async #crcOf({ offset, bytes }: SegmentLine, into: Buffer | null): Promise<string> {
    const block = into ?? Buffer.allocUnsafe(Math.min(blockBytes, bytes));
    let crc = 0;
    for (let done = 0; done < bytes;) {
      const length = Math.min(blockBytes, bytes - done);
      const part = into ? into.subarray(done, done + length) : block.subarray(0, length);
      if ((await this.#from.read(part, offset + done)) < length) return '';
      crc = crc32(part, crc);
      done += length;
    }
    return hex32(crc);
  }
}
