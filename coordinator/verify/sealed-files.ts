/** Reads the files that a manifest names, as they are now, in bounded memory. */
import { join } from 'node:path';
import type { z } from 'zod';
import { limits } from '../../common/core/limits.ts';
import { parseJson } from '../../common/core/parse-json.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { blocksOf, digestFile } from '../output/read-blocks.ts';
import type { SealedChunk, SealedFile } from '../output/sealed-lines.ts';
import type { Findings } from './findings.ts';

export interface Place {
  readonly fileSystem: FileSystem;
  /** The output folder. */
  readonly dir: string;
  readonly findings: Findings;
  /** Called with bytes as they are read. */
  readonly onBytes: (bytes: number) => void;
}

/** Null, with a finding, for a file that is not there or cannot be read. */
export async function openSealed({ fileSystem, dir, findings }: Place, path: string): Promise<OpenFile | null> {
  try {
    const file = await fileSystem.open(join(dir, path), 'read');
    // A folder opens, and fails at its first byte.
    await file.read(new Uint8Array(1), 0).catch(async (error: unknown) => {
      await file.close();
      throw error;
    });
    return file;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    const isGone = errnoOf(error) === 'ENOENT';
    findings.add({
      code: 'OUTPUT_CORRUPT',
      kind: 'missing',
      path,
      place: null,
      message: isGone ? `${path} is gone` : `${path} cannot be read: ${reasonOf(error)}`,
    });
    return null;
  }
}

/** Whether the file is the one that was sealed; a finding otherwise. */
export async function isAsSealed(place: Place, sealed: SealedFile): Promise<boolean> {
  const file = await openSealed(place, sealed.path);
  if (file === null) return false;
  await file.close();
  const found = await digestFile(place.fileSystem, join(place.dir, sealed.path));
  place.onBytes(found.bytes);
  if (found.bytes === sealed.bytes && found.sha256 === sealed.sha256) return true;
  place.findings.add({
    code: 'OUTPUT_CORRUPT',
    kind: 'altered',
    path: sealed.path,
    place: null,
    message: alteredText(sealed, found),
  });
  return false;
}

export function alteredText(sealed: SealedFile, found: Omit<SealedFile, 'path'>): string {
  if (found.bytes !== sealed.bytes) return `${sealed.path} has ${found.bytes} bytes, ${sealed.bytes} were sealed`;
  return `${sealed.path} has SHA-256 ${found.sha256}, ${sealed.sha256} was sealed`;
}

export interface NumberedLine<T> {
  /** From 1. */
  readonly line: number;
  readonly value: T;
}

/** Lines of the form `schema`; one that is not, or too many or too few, is a finding each. */
export async function* readLines<T>(
  place: Place,
  chunk: SealedChunk,
  schema: z.ZodType<T>,
): AsyncGenerator<NumberedLine<T>, void, void> {
  const refuse = (line: number, message: string): void =>
    place.findings.add({
      code: 'MANIFEST_INVALID',
      kind: 'inconsistent',
      path: chunk.path,
      place: `line ${line}`,
      message: `${chunk.path}, line ${line}: ${message}`,
    });
  const file = await openSealed(place, chunk.path);
  if (file === null) return;
  let line = 0;
  try {
    for await (const text of textLines(file)) {
      line += 1;
      const parsed = text === null ? null : schema.safeParse(parseJson(text));
      if (parsed?.success) yield { line, value: parsed.data };
      else refuse(line, parsed === null ? 'it is too long for a line of ours' : issueText(parsed.error));
    }
  } finally {
    await file.close();
  }
  if (line !== chunk.lines) refuse(line, `the file has ${line} lines, _manifest.json says ${chunk.lines}`);
}

/** Null stands for a line that is longer than any of ours. */
async function* textLines(file: OpenFile): AsyncGenerator<string | null, void, void> {
  let rest: Buffer = Buffer.alloc(0);
  let isTooLong = false;
  for await (const block of blocksOf(file)) {
    const bytes = rest.length === 0 ? Buffer.from(block) : Buffer.concat([rest, block]);
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      yield isTooLong ? null : bytes.toString('utf8', from, end);
      isTooLong = false;
      from = end + 1;
    }
    rest = bytes.subarray(from);
    if (rest.length <= limits.manifestLineBytesMax) continue;
    isTooLong = true;
    rest = Buffer.alloc(0);
  }
  if (rest.length > 0 || isTooLong) yield isTooLong ? null : rest.toString('utf8');
}

/** The first thing that is wrong, with its key. */
export function issueText(error: z.ZodError): string {
  const [issue] = error.issues;
  const key = issue?.path.join('.') ?? '';
  return key === '' ? 'it is no JSON of the expected form' : `${key}: ${issue?.message ?? ''}`;
}
