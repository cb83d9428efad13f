/**
 * What has become of input files since they were listed: looked at again when a job is reopened to score them anew,
 * most often because somebody has mended them. One small file per reopening beside the chunks of the catalog; where two
 * name the same input, the later one holds. JSON Lines: `["batchmill-changes", format, count]`, then
 * `[ordinal, sizeBytes, identity]` for each, and for a part of a file its begin, its end and the bytes of the file behind them.
 */
import { join } from 'node:path';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import type { FilePart } from '../../common/core/input.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';

export interface ChangedFile {
  readonly ordinal: number;
  readonly sizeBytes: number;
  readonly identity: string;
  readonly part?: FilePart;
}

/** A part in a line of numbers: nothing for a whole file. */
export const partNumbers = (part: FilePart | undefined): readonly number[] =>
  part === undefined ? [] : [part.begin, part.end, part.fileBytes];

export function partFrom([begin, end, fileBytes]: readonly number[]): { readonly part?: FilePart } {
  return begin === undefined || end === undefined || fileBytes === undefined ? {} : { part: { begin, end, fileBytes } };
}

const header = z.tuple([z.literal('batchmill-changes'), z.literal(1), z.int().min(0)]);
const line = z.tuple([z.int().min(0), z.number().min(0), z.string()], z.number().min(0));

/** `changed-000001.jsonl` */
function changesName(number: number): string {
  return `changed-${String(number).padStart(6, '0')}.jsonl`;
}

/** @throws JOURNAL_CORRUPT */
export async function readChanges(fileSystem: FileSystem, dir: string): Promise<Map<number, ChangedFile>> {
  const changes = new Map<number, ChangedFile>();
  for (const name of await namesOf(fileSystem, dir)) {
    for (const file of parse(join(dir, name), await readText(fileSystem, join(dir, name)))) {
      changes.set(file.ordinal, file);
    }
  }
  return changes;
}

export async function writeChanges(
  fileSystem: FileSystem,
  dir: string,
  number: number,
  files: readonly ChangedFile[],
): Promise<void> {
  const path = join(dir, changesName(number));
  const lines = [JSON.stringify(['batchmill-changes', 1, files.length])];
  for (const { ordinal, sizeBytes, identity, part } of files) {
    lines.push(JSON.stringify([ordinal, sizeBytes, identity, ...partNumbers(part)]));
  }
  const open = await fileSystem.open(`${path}.tmp`, 'replace');
  try {
    await open.write([Buffer.from(`${lines.join('\n')}\n`)], 0);
    await open.datasync();
  } finally {
    await open.close();
  }
  await fileSystem.rename(`${path}.tmp`, path);
  await fileSystem.syncDir(dir);
}

export async function removeChanges(fileSystem: FileSystem, dir: string): Promise<void> {
  for (const name of await namesOf(fileSystem, dir)) await fileSystem.remove(join(dir, name));
}

async function namesOf(fileSystem: FileSystem, dir: string): Promise<readonly string[]> {
  return (await fileSystem.list(dir)).filter((name) => /^changed-\d+\.jsonl$/.test(name)).sort();
}

function parse(path: string, text: string): readonly ChangedFile[] {
  try {
    const [first = '', ...rest] = text.trimEnd().split('\n');
    const [, , count] = header.parse(JSON.parse(first));
    if (rest.length !== count) throw new SyntaxError(`${rest.length} lines instead of ${count}`);
    return rest.map((one) => {
      const [ordinal, sizeBytes, identity, ...part] = line.parse(JSON.parse(one));
      return { ordinal, sizeBytes, identity, ...partFrom(part) };
    });
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof z.ZodError)) throw error;
    throw new BatchError('JOURNAL_CORRUPT', `${path} is damaged; restore it from a copy, or run the job again`, {
      cause: error,
    });
  }
}

async function readText(fileSystem: FileSystem, path: string): Promise<string> {
  const file = await fileSystem.open(path, 'read');
  try {
    const bytes = Buffer.allocUnsafe(await file.sizeBytes());
    return bytes.toString('utf8', 0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}
