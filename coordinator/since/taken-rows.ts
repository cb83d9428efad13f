/**
 * Takes rows out of an earlier output for the files of a page that are still the same. Segments that are whole stay where they are and are
 * only checked; rows that stand among others are cut out, into a file of the job's own.
 */
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import type { OutputFormat } from '../../common/core/deployment.ts';
import type { InputFile } from '../../common/core/input.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import { limits } from '../../common/core/limits.ts';
import { prologueBytes } from '../../common/format/prologue.ts';
import { rowCutter, type RowCutter } from '../../common/format/row-cutter.ts';
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

/** A segment as it is now. */
interface LookedAt {
  readonly line: SegmentLine;
  /** It has the bytes that were sealed. */
  readonly isSound: boolean;
  /** Its rows were to be cut apart. */
  readonly isCut: boolean;
  /** Null where they are not, or cannot be. */
  readonly cutter: RowCutter | null;
}

export class TakenRows {
  readonly #options: TakenRowsOptions;
  readonly #rows: EarlierRows;
  readonly #from: OpenFile;
  readonly #to: OpenFile;
  #end: number;
  #last: LookedAt | null = null;

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
    const { cutter } = await this.#look(segment, true);
    if (cutter === null) return null;
    const bytes = cutter.cut(rowsBefore, rows);
    const offset = this.#end;
    await this.#to.write([bytes], offset);
    this.#end += bytes.length;
    return { segment: takenSegment, offset, length: bytes.length, crc32: crc32(bytes) };
  }

  /** Once for all runs of a segment that follow each other. */
  async #look(line: SegmentLine, wantsCuts: boolean): Promise<LookedAt> {
    const last = this.#last;
    if (last?.line.first === line.first && (last.isCut || !wantsCuts || !last.isSound)) return last;
    const isCut = wantsCuts && line.bytes <= limits.takenSegmentBytesMax;
    const bytes = isCut ? Buffer.allocUnsafe(line.bytes) : null;
    const isSound = (await this.#crcOf(line, bytes)) === line.crc32;
    if (!isSound) this.#warn(line, 'rows of the earlier output are not what was sealed; their files are scored again');
    const cutter = isSound && bytes ? await this.#cutterOf(line, bytes) : null;
    this.#last = { line, isSound, isCut, cutter };
    return this.#last;
  }

  async #cutterOf(line: SegmentLine, bytes: Buffer): Promise<RowCutter | null> {
    const { since, format } = this.#options;
    const head = prologueBytes(since.schema ?? undefined);
    const cutter = await rowCutter({ bytes, count: line.rows, format, head });
    if (cutter === null)
      this.#warn(line, 'rows of the earlier output cannot be told apart; files beside changed ones are scored again');
    return cutter;
  }

  #warn({ offset, bytes, first, files }: SegmentLine, message: string): void {
    this.#options.log.warn(message, { file: this.#options.since.rowsPath, offset, bytes, first, files });
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
