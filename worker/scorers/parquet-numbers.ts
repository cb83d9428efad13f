/**
 * Columns of plain numbers out of Parquet, as typed arrays: decoding is parquet-wasm's, six times as fast as by a value each. Whatever it
 * does not take is for hyparquet, whose words are those of the failure.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Data } from 'apache-arrow';
import type { AsyncBuffer, FileMetaData, SchemaTree } from 'hyparquet';
import type { ParquetFile } from 'parquet-wasm';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { forgetParquetLibrary, parquetLibrary } from './parquet-library.ts';

/** A column of numbers, one in each row or none, that stand for themselves. */
export function isPlainNumbers({ element, children }: SchemaTree): boolean {
  const { type, converted_type: converted, logical_type: logical, repetition_type: repetition } = element;
  const isNumber = type === 'FLOAT' || type === 'DOUBLE' || type === 'INT32' || type === 'INT64';
  return isNumber && children.length === 0 && repetition !== 'REPEATED' && (converted ?? logical) === undefined;
}

/** So many turns of the event loop in which nothing comes, while nothing is waited for, and nothing will. */
const idleTurnsMax = 1_000;

/** One file, read by row groups. */
export class ParquetNumbers {
  readonly #buffer: AsyncBuffer;
  readonly #metadata: FileMetaData;
  #file: ParquetFile | null = null;
  #hasFailed = false;
  /** A read of the file that is under way. */
  #read: Promise<unknown> | null = null;

  constructor(buffer: AsyncBuffer, metadata: FileMetaData) {
    this.#buffer = buffer;
    this.#metadata = metadata;
  }

  /** Columns of a group by their names; null where it is not worth it, too large to be held several times, or refused. */
  async columns(group: number, names: readonly string[]): Promise<ReadonlyMap<string, ArrayLike<unknown>> | null> {
    if (this.#hasFailed || !this.#isWorthIt(group, names)) return null;
    try {
      return await this.#columns(group, names);
    } catch {
      this.#hasFailed = true;
      this.#file = null;
      forgetParquetLibrary();
      return null;
    }
  }

  close(): void {
    this.#file?.free();
    this.#file = null;
  }

  #isWorthIt(group: number, names: readonly string[]): boolean {
    const { num_rows: rows, columns = [] } = this.#metadata.row_groups[group] ?? {};
    const wanted = columns.filter((column) => names.includes(column.meta_data?.path_in_schema[0] ?? ''));
    const bytes = wanted.reduce((sum, column) => sum + Number(column.meta_data?.total_uncompressed_size ?? 0), 0);
    return Number(rows ?? 0) * names.length >= limits.parquetNumbersMin && bytes <= limits.parquetNumbersBytesMax;
  }

  async #columns(group: number, names: readonly string[]): Promise<ReadonlyMap<string, ArrayLike<unknown>>> {
    const { tableFromIPC } = await import('apache-arrow');
    const rows = Number(this.#metadata.row_groups[group]?.num_rows);
    this.#file ??= await this.#settled(parquetLibrary().ParquetFile.fromFile(this.#asBlob()));
    const options = { rowGroups: [group], columns: [...names], batchSize: rows };
    const table = await this.#settled(this.#file.read(options));
    const { schema, batches } = tableFromIPC(table.intoIPCStream());
    const [batch, ...others] = batches;
    invariant(batch?.numRows === rows && others.length === 0, 'a row group is one batch');
    return new Map(schema.fields.map(({ name }, i) => [name, valuesOf(batch.data.children[i] as Data)]));
  }

  /** What the library asks of a Blob, without a Blob of all bytes. */
  #asBlob(): Blob {
    const slice = (begin: number, end: number): Pick<Blob, 'arrayBuffer'> => ({
      arrayBuffer: async () => {
        const read = Promise.resolve(this.#buffer.slice(begin, end));
        this.#read = read.catch(() => undefined);
        try {
          return await read;
        } finally {
          this.#read = null;
        }
      },
    });
    return { size: this.#buffer.byteLength, slice } as unknown as Blob;
  }

  /** After a panic the library answers nothing any more. */
  async #settled<T>(work: Promise<T>): Promise<T> {
    for (let turns = 0; turns < idleTurnsMax; turns += 1) {
      const found = await Promise.race([work.then((value) => ({ value })), nextTurn(null)]);
      if (found !== null) return found.value;
      if (this.#read === null) continue;
      await this.#read;
      turns = 0;
    }
    throw new Error('the reader gave up, and does not say why');
  }
}

/** Values as they lie; one by one where some are missing. */
function valuesOf(data: Data): ArrayLike<unknown> {
  const values = data.values as Float64Array;
  if (data.nullCount === 0) return values;
  return Array.from(values, (value, row) => (data.getValid(row) ? value : null));
}
