/** The input of a simulated job: what becomes of each file when it is scored, and the bytes that it gives. */
import { crc32 } from 'node:zlib';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { entryHead, entryTrailer } from '../../common/storage/custom-archive.ts';

/** What happens when a file is scored. */
export type FileFate =
  | 'fine'
  | 'disk'
  | 'error'
  | 'crash'
  | 'hang'
  /** As `hang`, but the scorer answers all the same, after it was killed for it. */
  | 'late'
  | 'memory'
  /** Takes all the memory of its node: fails unless nothing runs beside it. */
  | 'hungry'
  | 'undecodable'
  | 'unreadable'
  | 'other-columns';

/** Code of each fate that ends an attempt. */
export const failureCodes: Partial<Record<FileFate, ErrorCode>> = {
  error: 'SCORER_FAILED',
  disk: 'DISK_FULL',
  crash: 'SCORER_CRASHED',
  hang: 'SCORER_TIMEOUT',
  late: 'SCORER_TIMEOUT',
  memory: 'SCORER_OUT_OF_MEMORY',
  hungry: 'SCORER_OUT_OF_MEMORY',
};

const deadly: ReadonlySet<FileFate> = new Set<FileFate>(['error', 'crash', 'hang', 'late', 'memory']);

/** Whether a file fails the mini-batch that it is in. */
export function isDeadly(fate: FileFate): boolean {
  return deadly.has(fate);
}

export interface SimInput {
  fateOf(file: number): FileFate;
  /** Bytes of the file's row with the end of its line, at least {@link rowBytesMin}. */
  rowsBytes(file: number): number;
  /** Bytes of the file that user code writes for it; 0: none. */
  customBytes(file: number): number;
}

/** Room for an ordinal below 10,000 and the end of the line. */
export const rowBytesMin = 5;
/** Header of the file of rows. */
export const prologue = 'file\n';
export const columns: readonly string[] = ['file:int'];
export const otherColumns: readonly string[] = ['file:int', 'note:text'];

/**
 * What stands behind the ordinals in the rows of an attempt, a capital letter: as with many a real scorer, no two attempts give the same
 * bytes, so that rows of one in the place of another's are seen. It costs no chance: a seed's other draws stay as they were.
 */
export function markOf(node: string, life: number, host: number, work: number): string {
  const mixed = [...node].reduce(
    (sum, letter) => Math.imul(sum, 31) + letter.charCodeAt(0),
    life * 977 + host * 131 + work,
  );
  return String.fromCharCode(65 + ((mixed >>> 0) % 26));
}

/** The row of a file: its ordinal, filled up with `mark` to `bytes` bytes, line end included. */
export function rowOf(file: number, bytes: number, mark = '.'): Buffer {
  const row = Buffer.alloc(bytes, mark);
  row.write(String(file));
  row[bytes - 1] = 0x0a;
  return row;
}

/** The ordinal that a row, without its line end, is of; null for what {@link rowOf} does not make. */
export function fileOfRow(line: string): number | null {
  const match = /^(\d+)(?:([.A-Z])\2*)?$/.exec(line);
  return match ? Number(match[1]) : null;
}

/** Rows as they are but for whose attempt they are of. */
export function unmarked(rows: string): string {
  return rows.replace(/[A-Z]/g, '.');
}

/** What user code calls the file that it writes for an input file, below the output folder. */
export function customPathOf(file: number): string {
  return `custom/f${file}.bin`;
}

/** What it writes there. */
export function customDataOf(file: number, bytes: number): Buffer {
  return Buffer.alloc(bytes, `${file} `);
}

export interface SimBody {
  readonly rows: Buffer;
  readonly custom: Buffer;
}

/** The bytes of a scored mini-batch: rows in the order of its files, then what user code wrote, sorted by path. */
export function bodyOf(input: SimInput, staged: readonly number[], mark = '.'): SimBody {
  const rows = staged
    .filter((file) => input.fateOf(file) !== 'undecodable')
    .map((file) => rowOf(file, input.rowsBytes(file), mark));
  const custom = staged
    .filter((file) => input.customBytes(file) > 0)
    .map((file) => ({ path: customPathOf(file), data: customDataOf(file, input.customBytes(file)) }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map(({ path, data }) => customEntry(path, data));
  return { rows: Buffer.concat(rows), custom: Buffer.concat(custom) };
}

/** A run of rows of the job that a node makes a part of its output from. */
export interface Part {
  /** Of the file, and of the input that it is made from. */
  readonly name: string;
  /** The rows, and what stands before the first of them. */
  readonly data: Buffer;
}

export function rowsOfPart({ data }: Part): number {
  const lines = data.toString('latin1').split('\n').length - 1;
  return data.subarray(0, prologue.length).equals(Buffer.from(prologue)) ? lines - 1 : lines;
}

/** What a host gives back that has made the part: a line that tells of it, and the file. */
export function bodyOfPart(part: Part): SimBody {
  const { name, data } = part;
  const line = JSON.stringify({ path: name, rows: rowsOfPart(part), bytes: data.length });
  return { rows: Buffer.from(`${line}\n`), custom: customEntry(name, data) };
}

function customEntry(path: string, data: Buffer): Buffer {
  const { head, crc32: before } = entryHead({ path, how: 'whole', bytes: data.length });
  return Buffer.concat([head, data, entryTrailer(crc32(data, before))]);
}
