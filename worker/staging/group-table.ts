/**
 * Tables whose rows stand in groups that a footer names: row groups of Parquet, record batches of an Arrow file. A part has the groups
 * that begin in its range; nothing else of the file is read but what says where they are.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostPart } from '../../common/core/host-protocol.ts';
import type { FilePart } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import {
  blockEnd,
  fileHeadBytes,
  footerBytesOf,
  footerTailBytes,
  readFooter,
  type MessageBlock,
} from '../../common/format/arrow-footer.ts';
import { batchHead } from '../../common/format/record-batch-head.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { bytesOf, type Keep, type PartSource } from './part-source.ts';
import { keepRange } from './text-table.ts';

/** Asked for at first of the end of a Parquet file. */
const parquetTailBytes = 65_536;

interface Range {
  readonly begin: number;
  readonly end: number;
}

/** In the order of the file: `begin` never falls. */
interface Group extends Range {
  /** Null: not looked at yet. */
  rows: number | null;
}

interface Groups {
  readonly groups: readonly Group[];
  /** What every reader needs: footer, schema, dictionaries. */
  readonly around: readonly Range[];
}

export type GroupFormat = 'parquet' | 'arrow';

export class GroupTable {
  readonly #format: GroupFormat;
  readonly #name: string;
  /** Null: a stream of Arrow, which has no footer. */
  #groups: Groups | null | undefined;
  #kept: { readonly bytes: Uint8Array; readonly offset: number }[] | null = null;

  constructor(format: GroupFormat, name: string) {
    this.#format = format;
    this.#name = name;
  }

  /** Null: all of the file, since it is a stream and this is its first part. @throws INPUT_DECODE_FAILED, and what the source throws */
  async locate(part: FilePart, source: PartSource, keep: Keep | null): Promise<HostPart | null> {
    if (this.#groups === undefined) {
      this.#groups = await (this.#format === 'parquet' ? this.#parquet(source) : this.#arrow(source));
    }
    if (this.#groups === null) return await wholeOrNone(part, source, keep);
    const { groups, around } = this.#groups;
    const first = groups.findIndex(({ begin }) => begin >= part.begin && begin < part.end);
    const none = { kind: 'groups', first: 0, count: 0, row: 0 } as const;
    // A copy of it is opened all the same.
    const own = first < 0 ? [] : groups.slice(first).filter(({ begin }) => begin < part.end);
    if (keep) {
      await this.#keepAround(around, source, keep);
      for (const { begin, end } of own) await keepRange(source, begin, end, keep);
    }
    if (first < 0) return none;
    let row = 0;
    for (const group of groups.slice(0, first)) row += group.rows ??= await this.#batchRows(group, source);
    return { kind: 'groups', first, count: own.length, row };
  }

  async #keepAround(around: readonly Range[], source: PartSource, keep: Keep): Promise<void> {
    const bytes = around.reduce((sum, { begin, end }) => sum + end - begin, 0);
    if (this.#kept === null && bytes <= limits.splitKeptBytes) {
      const kept = [];
      for (const { begin, end } of around) kept.push({ offset: begin, bytes: await bytesOf(source, begin, end) });
      this.#kept = kept;
    }
    if (this.#kept) for (const { bytes: piece, offset } of this.#kept) await keep(piece, offset);
    else for (const { begin, end } of around) await keepRange(source, begin, end, keep);
  }

  async #parquet(source: PartSource): Promise<Groups> {
    const { parquetMetadataAsync } = await import('hyparquet');
    const buffer = {
      byteLength: source.fileBytes,
      slice: async (begin: number, end = source.fileBytes) => {
        const bytes = await bytesOf(source, begin, end);
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
      },
    };
    const metadata = await this.#decoding('Parquet file', () =>
      parquetMetadataAsync(buffer, { initialFetchSize: parquetTailBytes }),
    );
    let reached = 0;
    const groups = metadata.row_groups.map(({ columns, num_rows: rows }): Group => {
      const ranges = columns.flatMap(({ meta_data: column }): Range[] => {
        if (!column) return [];
        // A place of 0 is none: some writers say so where there is no dictionary.
        const begin = Number(column.dictionary_page_offset || column.data_page_offset);
        return [{ begin, end: begin + Number(column.total_compressed_size) }];
      });
      reached = Math.max(reached, Math.min(...ranges.map(({ begin }) => begin), source.fileBytes - 1));
      return { begin: reached, end: Math.max(reached, ...ranges.map(({ end }) => end)), rows: Number(rows) };
    });
    const footer = { begin: source.fileBytes - metadata.metadata_length - 8, end: source.fileBytes };
    return { groups, around: [{ begin: 0, end: 4 }, footer] };
  }

  async #arrow(source: PartSource): Promise<Groups | null> {
    const { fileBytes } = source;
    const tailBegin = Math.max(0, fileBytes - footerTailBytes);
    const footerBytes = footerBytesOf(await bytesOf(source, tailBegin, fileBytes));
    if (footerBytes === null) return null;
    const footerBegin = Math.max(0, tailBegin - footerBytes);
    const { dictionaries, batches } = await this.#decoding('Arrow file', async () =>
      readFooter(await bytesOf(source, footerBegin, tailBegin)),
    );
    let reached = 0;
    const groups = batches.map((block): Group => {
      reached = Math.max(reached, block.offset);
      return { begin: reached, end: blockEnd(block), rows: null };
    });
    // One by one: there may be more of them than a call takes arguments.
    const schemaEnd = [...dictionaries, ...batches].reduce((end, { offset }) => Math.min(end, offset), footerBegin);
    const own = dictionaries.map((block: MessageBlock) => ({ begin: block.offset, end: blockEnd(block) }));
    const around = [
      { begin: 0, end: Math.max(fileHeadBytes, schemaEnd) },
      ...own,
      { begin: footerBegin, end: fileBytes },
    ];
    return { groups, around };
  }

  /** The footer of an Arrow file does not tell it. */
  async #batchRows({ begin }: Group, source: PartSource): Promise<number> {
    return await this.#decoding('Arrow file', async () => {
      const prefix = await bytesOf(source, begin, begin + 8);
      const view = new DataView(prefix.buffer, prefix.byteOffset, 8);
      // Before release 0.15 there was no marker in front of the length.
      const isMarked = view.getInt32(0, true) === -1;
      const from = begin + (isMarked ? 8 : 4);
      const length = view.getInt32(isMarked ? 4 : 0, true);
      return batchHead(await bytesOf(source, from, Math.min(source.fileBytes, from + length))).rows;
    });
  }

  async #decoding<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof BatchError) throw error;
      const text = `${this.#name} is no ${what} that can be decoded: ${reasonOf(error)}`;
      throw new BatchError('INPUT_DECODE_FAILED', text, { cause: error });
    }
  }
}

/** A stream tells nobody where its batches are: its first part has all of them. */
async function wholeOrNone(part: FilePart, source: PartSource, keep: Keep | null): Promise<HostPart | null> {
  if (part.begin > 0) return { kind: 'groups', first: 0, count: 0, row: 0 };
  if (keep) await keepRange(source, 0, part.fileBytes, keep);
  return null;
}
