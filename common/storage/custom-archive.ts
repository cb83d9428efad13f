/**
 * The files that user code wrote during one mini-batch, as they travel and wait behind its rows: entries one behind the
 * other, sorted by path. An entry is a header's length (u32, little endian), the header as JSON, the data, and the CRC-32
 * (u32) of header and data, so that each entry can be checked where it is read, and those that nobody needs are passed over.
 */
import { crc32 } from 'node:zlib';
import * as z from 'zod';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import type { OpenFile } from '../ports/file-system.ts';

export interface CustomEntry {
  /** Relative to the output folder, forward slashes. */
  readonly path: string;
  /**
   * `whole`: the file is these bytes; `append`: they come behind what is there; `stored`: its bytes are in a store already, and these
   * say where, as the JSON of {@link StoredFile}.
   */
  readonly how: 'append' | 'whole' | 'stored';
  /** Of the data. */
  readonly bytes: number;
}

/** An entry and where its data lie in the file that holds the archive. */
export interface ListedEntry extends CustomEntry {
  readonly offset: number;
  /** Of the header; the data's continues it. */
  readonly headerCrc32: number;
}

const entryShape = z.strictObject({
  path: z.string(),
  how: z.enum(['append', 'whole', 'stored']),
  bytes: z.int().nonnegative(),
});

/** A file that an attempt has put into a store by itself. */
export interface StoredFile {
  /** Where, as the canonical text of its location. */
  readonly location: string;
  readonly bytes: number;
  readonly sha256: string;
}

const storedShape: z.ZodType<StoredFile> = z.strictObject({
  location: z.string(),
  bytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const lengthBytes = 4;
const trailerBytes = 4;

/** What stands before the data, and the checksum that the data's continues. */
export function entryHead({ path, how, bytes }: CustomEntry): { readonly head: Uint8Array; readonly crc32: number } {
  const header = Buffer.from(JSON.stringify({ path, how, bytes }));
  return { head: Buffer.concat([u32(header.length), header]), crc32: crc32(header) };
}

/** What stands behind the data. */
export function entryTrailer(checksum: number): Uint8Array {
  return u32(checksum);
}

/** The checksum that stands behind the data of an entry. @throws OUTPUT_CORRUPT */
export async function readTrailer(file: OpenFile, entry: ListedEntry): Promise<number> {
  return (await readExactly(file, entry.offset + entry.bytes, trailerBytes)).readUInt32LE();
}

/** The data of an entry that is `stored`. @throws OUTPUT_CORRUPT */
export async function readStoredFile(file: OpenFile, entry: ListedEntry): Promise<StoredFile> {
  if (entry.bytes > limits.customHeaderBytesMax) throw corrupt(`${entry.bytes} bytes that should say where a file is`);
  const data = await readExactly(file, entry.offset, entry.bytes);
  if (crc32(data, entry.headerCrc32) !== (await readTrailer(file, entry)))
    throw corrupt(`another checksum of ${entry.path}`);
  try {
    return storedShape.parse(JSON.parse(data.toString('utf8')));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) throw corrupt(`no place of ${entry.path}`);
    throw error;
  }
}

/** The entries of the archive from `from` to `to`, without their data. @throws OUTPUT_CORRUPT */
export async function* listEntries(file: OpenFile, from: number, to: number): AsyncGenerator<ListedEntry, void, void> {
  for (let at = from; at < to;) {
    const length = (await readExactly(file, at, lengthBytes)).readUInt32LE();
    if (length > limits.customHeaderBytesMax) throw corrupt(`a header of ${length} bytes at ${at}`);
    const header = await readExactly(file, at + lengthBytes, length);
    const entry = parseEntry(header, at);
    const offset = at + lengthBytes + length;
    at = offset + entry.bytes + trailerBytes;
    if (at > to) throw corrupt(`an entry that ends at ${at}, behind its archive's end at ${to}`);
    yield { ...entry, offset, headerCrc32: crc32(header) };
  }
}

function parseEntry(header: Buffer, at: number): CustomEntry {
  try {
    return entryShape.parse(JSON.parse(header.toString('utf8')));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) throw corrupt(`no header at ${at}`);
    throw error;
  }
}

async function readExactly(file: OpenFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  if ((await file.read(bytes, position)) === length) return bytes;
  throw corrupt(`nothing behind ${position}`);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Also for what a reader of the data finds. */
export function corrupt(what: string): BatchError {
  return new BatchError(
    'OUTPUT_CORRUPT',
    `staged files of user code are damaged: found ${what}; the disk has changed them, run the job again`,
  );
}
