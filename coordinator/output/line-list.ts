/** Lists in an output folder, a line of JSON for each entry: read and replaced as a whole. */
import { dirname } from 'node:path';
import type * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { parseJson } from '../../common/core/parse-json.ts';
import { readText } from '../../common/io/if-there.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { LineFile } from './line-file.ts';

/** Empty where there is no list. @throws OUTPUT_CORRUPT for a line that is not of `shape` */
export async function readLineList<T>(fileSystem: FileSystem, path: string, shape: z.ZodType<T>): Promise<T[]> {
  const lines = ((await readText(fileSystem, path)) ?? '').split('\n');
  return lines.flatMap((line, index) => {
    if (line === '') return [];
    const entry = shape.safeParse(parseJson(line));
    if (entry.success) return [entry.data];
    const message = `line ${index + 1} of ${path} is not what was written there; move the file away: what it lists is then taken for somebody else's`;
    throw new BatchError('OUTPUT_CORRUPT', message);
  });
}

/** A crash leaves the list of before or this one; durable when it resolves. */
export async function replaceLineList(fileSystem: FileSystem, path: string, entries: Iterable<object>): Promise<void> {
  const file = await LineFile.create(fileSystem, path);
  try {
    for (const entry of entries) if (file.add(JSON.stringify(entry))) await file.flush();
    await file.finish();
  } finally {
    await file.abandon();
  }
  await fileSystem.syncDir(dirname(path));
}
