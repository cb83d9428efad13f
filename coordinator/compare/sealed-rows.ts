/** The rows of each input file of a sealed output, as texts, in input order. */
import { crc32 } from 'node:zlib';
import { textsOf } from '../../common/compare/row-texts.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { outputFormats } from '../../common/core/deployment.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { Manifest } from '../output/manifest-schema.ts';
import type { SegmentLine } from '../output/sealed-lines.ts';
import { hex32 } from '../output/segments.ts';
import { readExactly } from '../since/earlier-output.ts';
import { linesOf } from '../since/earlier-rows.ts';
import { Findings } from '../verify/findings.ts';

export interface FileRows {
  readonly path: string;
  /** First byte of the part, where a file was shared out; else 0. */
  readonly begin: number;
  readonly isFailed: boolean;
  /** Without what ends them; null where nobody knows which rows are the file's. */
  readonly rows: readonly string[] | null;
  /** Neighbours whose rows are known for all of them together; null for a file whose rows are known. */
  readonly group: {
    /** All of them, at its first file; empty at the others. */
    readonly rows: readonly string[];
    readonly isLast: boolean;
  } | null;
}

export interface SealedRowsOptions {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly manifest: Manifest;
  /** Of the file of rows: absolute. */
  readonly path: string;
}

/** Holds the rows of one segment at a time. @throws COMPARE_UNUSABLE for what is not as it was sealed */
export async function* sealedRows(options: SealedRowsOptions): AsyncGenerator<FileRows, void, void> {
  const { fileSystem, dir, manifest } = options;
  const findings = new Findings();
  const place = { fileSystem, dir, findings, onBytes: (): void => undefined };
  const format = outputFormats.find((one) => one === manifest.settings.outputFormat) ?? 'azure';
  let head: Buffer | null = null;
  let of: SegmentLine | null = null;
  let isOpen = false;
  let texts: readonly string[] | null = null;
  for await (const { line, segment, rowsBefore } of linesOf(place, manifest)) {
    const isFailed = line.status !== 'scored';
    const common = { path: line.path, begin: line.part?.[0] ?? 0, isFailed };
    if (segment === null || segment.rows === 0) {
      yield { ...common, rows: isFailed ? null : [], group: null };
      continue;
    }
    if (of?.offset !== segment.offset) {
      head ??= format === 'arrow' ? await headOf(options, place) : Buffer.alloc(0);
      texts = await textsOf(await bytesOf(options, segment), segment.rows, format, head);
      of = segment;
      isOpen = false;
    }
    if (texts !== null && isOpen === false && rowsBefore !== null && (line.rows !== null || isFailed)) {
      const rows = isFailed ? null : texts.slice(rowsBefore, rowsBefore + (line.rows ?? 0));
      yield { ...common, rows, group: null };
      continue;
    }
    // From the first file whose rows are unknown on, what is left of the segment is one group.
    const isLast = line.ordinal === segment.first + segment.files - 1;
    const rest = isOpen ? [] : (texts?.slice(rowsBefore ?? 0) ?? []);
    isOpen = !isLast;
    if (texts === null) throw new BatchError('COMPARE_UNUSABLE', `${dir}: its rows cannot be told from each other`);
    yield { ...common, rows: null, group: { rows: rest, isLast } };
  }
  const [damage] = findings.list;
  if (damage) throw new BatchError('COMPARE_UNUSABLE', `${dir}: ${damage.message}; \`job verify\` says more`);
}

/** @throws COMPARE_UNUSABLE */
async function bytesOf({ fileSystem, path, dir }: SealedRowsOptions, segment: SegmentLine): Promise<Buffer> {
  const bytes = await readExactly(fileSystem, path, segment.offset, segment.bytes);
  if (bytes !== null && hex32(crc32(bytes)) === segment.crc32) return bytes;
  throw new BatchError('COMPARE_UNUSABLE', `${path} is not what was sealed; \`job verify ${dir}\` says what of it`);
}

/** What stands before the first row: the schema of an Arrow stream. */
async function headOf(options: SealedRowsOptions, place: Parameters<typeof linesOf>[0]): Promise<Buffer> {
  for await (const { segment } of linesOf(place, options.manifest)) {
    if (segment) return (await readExactly(options.fileSystem, options.path, 0, segment.offset)) ?? Buffer.alloc(0);
  }
  return Buffer.alloc(0);
}
