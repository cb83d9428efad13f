/**
 * Rows told apart by the values of columns: a window of record batches at a time is sorted into folders, and what does not
 * stay in memory waits in a file for each folder. Then folders are read one after the other, so that one file is written at
 * a time whatever their number.
 */
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Data, RecordBatch, Schema } from 'apache-arrow';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { runsOf, ungatherable } from '../../common/format/arrow-gather.ts';
import {
  decodeBatches,
  schemaMessage,
  type BatchMessage,
  type StreamSchema,
} from '../../common/format/arrow-message.ts';
import { PartitionColumn, tooMany } from '../../common/format/partition-column.ts';
import { partitionFolder } from '../../common/format/partition-path.ts';
import { outsideError } from '../../common/io/errno.ts';
import { BatchRows, joined, joinedSource, type BatchRuns, type BatchSource } from './batch-rows.ts';
import { MessageFile } from './message-file.ts';

/** The rows of one folder, in the order of the input. */
export interface Partition {
  /** `country=de/day=2024-02-29`. */
  readonly folder: string;
  readonly rows: BatchRows;
  close(): Promise<void>;
}

/** Where a folder's rows are until they are written. */
interface Folder {
  readonly path: string;
  readonly spool: string;
  isSpooled: boolean;
}

/** Rows of a window by folder. */
type Window = ReadonlyMap<Folder, readonly BatchRuns[]>;

/**
 * Reads all of `source`, then gives each folder with its rows, in order of the first one. `spoolDir` is an empty folder.
 * Each partition is read to its end and closed before the next is asked for.
 * @throws OUTPUT_CORRUPT, PARTITION_INVALID, DISK_FULL, STATE_UNWRITABLE
 */
export async function* partitions(
  source: BatchSource,
  partitionBy: readonly string[],
  spoolDir: string,
): AsyncGenerator<Partition> {
  const sorter = new Sorter(source.schema, partitionBy, spoolDir);
  // Each batch has runs for each folder, which small batches would make many of.
  const batches = joinedSource(source, limits.tableBlockRowsMax);
  let last: Window | null = null;
  for (;;) {
    const messages = await nextWindow(batches);
    if (messages.length === 0) break;
    if (last !== null) await spool(sorter, last);
    last = sorter.window(decodeBatches(source.schema, messages));
  }
  for (const folder of sorter.folders) yield await open(sorter, folder, last);
}

async function nextWindow(source: BatchSource): Promise<readonly BatchMessage[]> {
  const found: BatchMessage[] = [];
  let bytes = 0;
  let rows = 0;
  while (bytes < limits.partWindowBytes && rows < limits.partWindowRows) {
    const next = await source.next();
    if (next === null) break;
    if (next.rows === 0) continue;
    found.push(next);
    bytes += next.bytes.length;
    rows += next.rows;
  }
  return found;
}

class Sorter {
  /** Without the columns that are folders. */
  readonly schema: StreamSchema;
  readonly #columns: readonly { readonly place: number; readonly values: PartitionColumn }[];
  readonly #kept: readonly number[];
  readonly #spoolDir: string;
  readonly #byCodes = new Map<string, Folder>();
  readonly #byPath = new Map<string, Folder>();

  constructor({ schema }: StreamSchema, partitionBy: readonly string[], spoolDir: string) {
    checkColumns(schema, partitionBy);
    this.#spoolDir = spoolDir;
    this.#columns = partitionBy.map((name) => {
      const place = schema.fields.findIndex((field) => field.name === name);
      return { place, values: new PartitionColumn(name, schema.fields[place]?.type as never) };
    });
    this.#kept = schema.fields.map((_, i) => i).filter((i) => !this.#columns.some(({ place }) => place === i));
    this.schema = schemaMessage(schema.selectAt([...this.#kept]));
  }

  get folders(): Iterable<Folder> {
    return this.#byPath.values();
  }

  window(batches: readonly RecordBatch[]): Window {
    const window = new Map<Folder, BatchRuns[]>();
    for (const batch of batches) {
      for (const [folder, rows] of this.#sort(batch)) {
        const found = window.get(folder) ?? [];
        found.push({ batch, runs: runsOf(rows) });
        window.set(folder, found);
      }
    }
    return window;
  }

  /** One batch of all that a folder has in a window, without the columns that are folders. */
  join(found: readonly BatchRuns[]): BatchMessage {
    return joined(this.schema, this.#kept, found);
  }

  /** Rows of one batch by folder, ascending. */
  #sort(batch: RecordBatch): ReadonlyMap<Folder, readonly number[]> {
    const codes = this.#columns.map(({ place, values }) => {
      const found = new Int32Array(batch.numRows);
      values.encode(batch.data.children[place] as Data, found, 0);
      return found;
    });
    const sorted = new Map<Folder, number[]>();
    // Folders of one column have its codes; keys of several are made once for each that differ in a batch.
    const known = new Map<number, number[]>();
    for (let row = 0; row < batch.numRows; row += 1) {
      const key = combined(codes, row);
      let rows = known.get(key);
      if (rows === undefined) {
        const folder = this.#folder(codes.map((column) => column[row] as number));
        rows = sorted.get(folder) ?? [];
        sorted.set(folder, rows);
        if (key >= 0) known.set(key, rows);
      }
      rows.push(row);
    }
    return sorted;
  }

  #folder(codes: readonly number[]): Folder {
    const key = codes.join();
    const found = this.#byCodes.get(key);
    if (found) return found;
    const path = this.#columns
      .map(({ values }, i) => checkName(partitionFolder(values.name, values.texts[codes[i] as number] ?? null)))
      .join('/');
    const count = this.#byPath.size;
    const folder = this.#byPath.get(path) ?? { path, spool: join(this.#spoolDir, String(count)), isSpooled: false };
    if (!this.#byPath.has(path)) {
      if (count === limits.partitionsMax) throw tooMany('the rows have', 'partitions');
      this.#byPath.set(path, folder);
    }
    this.#byCodes.set(key, folder);
    return folder;
  }
}

/** The codes of a row as one number; −1 where they are too many for one. */
function combined(codes: readonly Int32Array[], row: number): number {
  let key = 0;
  for (const column of codes) key = key * limits.partitionsMax + (column[row] as number);
  return key <= Number.MAX_SAFE_INTEGER ? key : -1;
}

function checkColumns({ fields }: Schema, partitionBy: readonly string[]): void {
  const names = fields.map(({ name }) => name);
  const missing = partitionBy.find((name) => !names.includes(name));
  if (missing !== undefined) {
    throw invalid(`there is no column ${JSON.stringify(missing)}; the rows have ${names.join(', ')}`);
  }
  if (names.every((name) => partitionBy.includes(name))) {
    throw invalid(`${partitionBy.join(', ')} are all columns of the rows, and the files would have none`);
  }
  for (const { name, type } of fields) {
    const other = partitionBy.includes(name) ? null : ungatherable(type as never);
    if (other !== null)
      throw invalid(
        `column ${JSON.stringify(name)} has values of type ${String(other)}, which cannot be told apart by folder: cast it first`,
      );
  }
}

function checkName(folder: string): string {
  const bytes = Buffer.byteLength(folder);
  if (bytes <= limits.fileNameBytesMax) return folder;
  throw invalid(
    `the value ${JSON.stringify(folder.slice(0, 60))}… makes a name of ${bytes} bytes for a folder, which may have ${limits.fileNameBytesMax}; partition by a column of shorter values`,
  );
}

/** Rows of each folder of a window, put together one folder at a time. */
async function spool(sorter: Sorter, window: Window): Promise<void> {
  for (const [folder, found] of window) {
    try {
      await appendFile(folder.spool, sorter.join(found).bytes);
    } catch (error) {
      throw outsideError(error, `rows of ${folder.path} cannot be put aside`) ?? error;
    }
    folder.isSpooled = true;
  }
}

/** What was put aside, and then the rows of the last window. */
async function open(sorter: Sorter, folder: Folder, last: Window | null): Promise<Partition> {
  const file = folder.isSpooled ? await MessageFile.open(folder.spool, folder.path) : null;
  let rest = last?.get(folder) ?? null;
  const next = async (): Promise<BatchMessage | null> => {
    const spooled = (await file?.batch('file')) ?? null;
    if (spooled !== null || rest === null) return spooled;
    const message = sorter.join(rest);
    rest = null;
    return message;
  };
  const close = async (): Promise<void> => await file?.close();
  return { folder: folder.path, rows: new BatchRows({ schema: sorter.schema, next }), close };
}

function invalid(message: string): BatchError {
  return new BatchError('PARTITION_INVALID', `output.partition_by: ${message}`);
}
