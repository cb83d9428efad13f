/**
 * Columns of plain numbers out of Parquet, as typed arrays: decoding is parquet-wasm's, several times as fast as by a value each. Whatever it
 * does not take is for hyparquet, whose words are those of the failure.
 */
import type { Data } from 'apache-arrow';
import type { AsyncBuffer, ColumnMetaData, FileMetaData, RowGroup, SchemaElement, SchemaTree } from 'hyparquet';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { forgetParquetLibrary, parquetLibrary } from './parquet-library.ts';

/** A column of numbers, one in each row or none, that stand for themselves. */
export function isPlainNumbers({ element, children }: SchemaTree): boolean {
  const { type, converted_type: converted, logical_type: logical, repetition_type: repetition } = element;
  const isNumber = type === 'FLOAT' || type === 'DOUBLE' || type === 'INT32' || type === 'INT64';
  return isNumber && children.length === 0 && repetition !== 'REPEATED' && (converted ?? logical) === undefined;
}

/** A column of a row group where it lies in the file. */
interface Chunk {
  readonly meta: ColumnMetaData;
  readonly element: SchemaElement;
  readonly begin: number;
  readonly end: number;
}

/** One file, read by row groups. */
export class ParquetNumbers {
  readonly #buffer: AsyncBuffer;
  readonly #metadata: FileMetaData;
  #hasFailed = false;

  constructor(buffer: AsyncBuffer, metadata: FileMetaData) {
    this.#buffer = buffer;
    this.#metadata = metadata;
  }

  /** Columns of a group by their names; null where it is not worth it, too large to be held several times, or refused. */
  async columns(group: number, names: readonly string[]): Promise<ReadonlyMap<string, ArrayLike<unknown>> | null> {
    const found = this.#metadata.row_groups[group];
    if (found === undefined || this.#hasFailed) return null;
    const chunks = names.flatMap((name) => chunkOf(this.#metadata, found, name) ?? []);
    const bytes = chunks.reduce((sum, { meta }) => sum + Number(meta.total_uncompressed_size), 0);
    const isWorthIt = Number(found.num_rows) * chunks.length >= limits.parquetNumbersMin;
    if (!isWorthIt || bytes > limits.parquetNumbersBytesMax) return null;
    try {
      return await this.#decoded(found, chunks);
    } catch {
      this.#hasFailed = true;
      forgetParquetLibrary();
      return null;
    }
  }

  async #decoded(group: RowGroup, chunks: readonly Chunk[]): Promise<ReadonlyMap<string, ArrayLike<unknown>>> {
    const { tableFromIPC } = await import('apache-arrow');
    const file = await smallFile(this.#buffer, this.#metadata, group, chunks);
    const rows = Number(group.num_rows);
    // Not by its asynchronous ways: a panic in them is nobody's to catch, and ends the process.
    const table = parquetLibrary().readParquet(file, { batchSize: rows });
    const { schema, batches } = tableFromIPC(table.intoIPCStream());
    const [batch, ...others] = batches;
    invariant(batch?.numRows === rows && others.length === 0, 'a row group is one batch');
    return new Map(schema.fields.map(({ name }, i) => [name, valuesOf(batch.data.children[i] as Data)]));
  }
}

function chunkOf({ schema }: FileMetaData, { columns }: RowGroup, name: string): Chunk | null {
  const isIts = ({ path_in_schema: path }: ColumnMetaData): boolean => path.length === 1 && path[0] === name;
  const meta = columns.find((column) => column.meta_data && isIts(column.meta_data))?.meta_data;
  const element = schema.find((one) => one.name === name && one.type === meta?.type);
  if (meta === undefined || element === undefined) return null;
  const dictionary = Number(meta.dictionary_page_offset ?? 0n);
  const data = Number(meta.data_page_offset);
  const begin = dictionary > 0 && dictionary < data ? dictionary : data;
  return { meta, element, begin, end: begin + Number(meta.total_compressed_size) };
}

const magic = 'PAR1';

/** A Parquet file of these chunks alone, so that no more of the file is read or held. Each is read once. */
async function smallFile(
  buffer: AsyncBuffer,
  metadata: FileMetaData,
  group: RowGroup,
  chunks: readonly Chunk[],
): Promise<Uint8Array> {
  const { ByteWriter } = await import('hyparquet-writer');
  const { writeMetadata } = await import('hyparquet-writer/src/metadata.js');
  const parts: Uint8Array[] = [Buffer.from(magic)];
  let at = magic.length;
  const columns = [];
  for (const { meta, begin, end } of chunks) {
    parts.push(new Uint8Array(await buffer.slice(begin, end)));
    const moved = BigInt(at - begin);
    const { dictionary_page_offset: dictionary, data_page_offset: data } = meta;
    const { type, encodings, path_in_schema, codec, num_values, total_uncompressed_size, total_compressed_size } = meta;
    const meta_data: ColumnMetaData = {
      ...{ type, encodings, path_in_schema, codec, num_values, total_uncompressed_size, total_compressed_size },
      data_page_offset: data + moved,
      ...(dictionary === undefined || Number(dictionary) !== begin
        ? {}
        : { dictionary_page_offset: dictionary + moved }),
    };
    columns.push({ file_offset: 0n, meta_data });
    at += end - begin;
  }
  const [root] = metadata.schema;
  const footer = new ByteWriter();
  writeMetadata(footer, {
    version: metadata.version,
    schema: [{ ...(root as SchemaElement), num_children: chunks.length }, ...chunks.map(({ element }) => element)],
    num_rows: group.num_rows,
    row_groups: [{ columns, total_byte_size: group.total_byte_size, num_rows: group.num_rows }],
    metadata_length: 0,
  });
  return Buffer.concat([...parts, footer.getBytes(), Buffer.from(magic)]);
}

/** Values as they lie; one by one where some are missing. */
function valuesOf(data: Data): ArrayLike<unknown> {
  const values = data.values as Float64Array;
  if (data.nullCount === 0) return values;
  return Array.from(values, (value, row) => (data.getValid(row) ? value : null));
}
