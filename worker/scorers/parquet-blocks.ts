/** Parquet files as blocks of columns, a row group at a time. Decoding is hyparquet's, but for large columns of plain numbers. */
import { open, type FileHandle } from 'node:fs/promises';
import type { AsyncBuffer, FileMetaData, ParquetParsers, SchemaTree } from 'hyparquet';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { readFully } from '../../common/io/read-fully.ts';
import { Instant } from '../../common/format/instant.ts';
import type { ColumnBlock, WantedColumns } from './column-block.ts';
import { isPlainNumbers, ParquetNumbers } from './parquet-numbers.ts';
import { typeLook } from './type-look.ts';
import { isBytes, parquetType } from './parquet-type.ts';

/** Reads only what is wanted. Throws INPUT_UNREADABLE and INPUT_DECODE_FAILED. */
export async function* readParquetBlocks(file: HostFile, { fed, carried }: WantedColumns): AsyncGenerator<ColumnBlock> {
  if (file.part?.kind === 'groups' && file.part.count === 0) return;
  const { parquetMetadataAsync, parquetSchema } = await import('hyparquet');
  const handle = await openFile(file);
  try {
    const buffer = await bufferOf(handle);
    const metadata = await decoding(file, () => parquetMetadataAsync(buffer));
    const numbers = new ParquetNumbers(buffer, metadata);
    const columns = new Map(parquetSchema(metadata).children.map((child) => [child.element.name, child]));
    const names = [...columns.keys()];
    const kept = names.filter((name) => carried === 'all' || carried.includes(name));
    const wanted = names.filter((name) => fed === null || fed.includes(name) || kept.includes(name));
    const bytes = kept.filter((name) => isBytes(columns.get(name) as SchemaTree));
    const how = kept.length === 0 ? {} : { parsers: exactTimes };
    const look = typeLook((name) => {
      const column = columns.get(name);
      return column === undefined ? null : isBytes(column) ? { kind: 'utf8' } : parquetType(column);
    });
    const { part } = file;
    let first = part?.row ?? 0;
    const groups = metadata.row_groups;
    const [from, to] = part?.kind === 'groups' ? [part.first, part.first + part.count] : [0, groups.length];
    const plain = wanted.filter((name) => isPlainNumbers(columns.get(name) as SchemaTree));
    for (let group = from; group < to; group += 1) {
      const rows = Number(groups[group]?.num_rows);
      const begin = first;
      first += rows;
      if (rows === 0) continue;
      const fast = await numbers.columns(group, plain);
      const others = fast === null ? wanted : wanted.filter((name) => !fast.has(name));
      const slow = await decoding(file, () => readGroup(buffer, metadata, others, begin, rows, how));
      const values = new Map([...(fast ?? []), ...slow]);
      // A reader of models takes them for text, which bytes need not be.
      const raw = await decoding(file, () => readGroup(buffer, metadata, bytes, begin, rows, { utf8: false }));
      yield {
        rows,
        names,
        look,
        column: (name) => values.get(name) ?? [],
        carried: (name) => {
          const cells = raw.get(name) ?? values.get(name) ?? [];
          return { name, type: parquetType(columns.get(name) as SchemaTree), cell: (row) => cells[row] };
        },
        place: (row) => `row ${begin + row}`,
      };
    }
  } finally {
    await handle.close();
  }
}

async function openFile(file: HostFile): Promise<FileHandle> {
  try {
    return await open(file.path);
  } catch (error) {
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

async function bufferOf(handle: FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    slice: async (start, end = size) => {
      const bytes = new Uint8Array(end - start);
      const found = await readFully(handle, bytes, start);
      if (found < bytes.length) throw new Error(`the file ends at byte ${start + found}`);
      return bytes.buffer;
    },
  };
}

async function readGroup(
  file: AsyncBuffer,
  metadata: FileMetaData,
  columns: readonly string[],
  first: number,
  rows: number,
  how: { readonly parsers?: Partial<ParquetParsers>; readonly utf8?: boolean },
): Promise<ReadonlyMap<string, ArrayLike<unknown>>> {
  if (columns.length === 0) return new Map();
  const [{ parquetRead }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  const parts = new Map<string, ArrayLike<unknown>[]>(columns.map((name) => [name, []]));
  const range = { rowStart: first, rowEnd: first + rows };
  await parquetRead({
    file,
    metadata,
    columns: [...columns],
    ...range,
    ...how,
    compressors,
    onChunk: ({ columnName, columnData }) => void parts.get(columnName)?.push(columnData),
  });
  const joined = new Map<string, ArrayLike<unknown>>();
  for (const [name, chunks] of parts) {
    const [only] = chunks;
    const values = only && chunks.length === 1 ? only : chunks.flatMap((chunk) => Array.from(chunk));
    if (values.length !== rows) throw new Error(`column ${name} has ${values.length} values in ${rows} rows`);
    joined.set(name, values);
  }
  return joined;
}

async function decoding<T>(file: HostFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const text = `${file.name} is no Parquet file that can be decoded: ${reasonOf(error)}`;
    throw new BatchError('INPUT_DECODE_FAILED', text, { cause: error });
  }
}

/** Times as they are, where a Date would cut them off at milliseconds. */
const exactTimes: Partial<ParquetParsers> = {
  timestampFromMilliseconds: (count) => new Instant(BigInt(count), 'ms'),
  timestampFromMicroseconds: (count) => new Instant(count, 'us'),
  timestampFromNanoseconds: (count) => new Instant(count, 'ns'),
};
