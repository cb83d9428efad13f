/**
 * Parts that a job has begun to give their names: a list in the output folder, durable before the first of them has its own, and gone
 * once the manifest names them. What an end that came to nothing has left there is told by it from a file of somebody else.
 */
import { join } from 'node:path';
import * as z from 'zod';
import { readText } from '../../common/io/if-there.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { broughtPathDefect } from '../../common/storage/custom-path.ts';
import { LineFile } from './line-file.ts';
import { begunPartsName } from './output-names.ts';

export interface BegunPart {
  /** Relative to the output folder, and within it. */
  readonly path: string;
  readonly sha256: string;
}

const lineShape = z.object({ path: z.string(), sha256: z.string() });

/** Empty where there is no list. */
export async function readBegunParts(fileSystem: FileSystem, dir: string): Promise<readonly BegunPart[]> {
  const lines = ((await readText(fileSystem, join(dir, begunPartsName))) ?? '').split('\n');
  const parts = lines.filter((line) => line !== '').map((line) => lineShape.parse(JSON.parse(line)));
  return parts.filter(({ path }) => broughtPathDefect(path, null) === null);
}

/** Replaces the list; durable when it resolves. */
export async function writeBegunParts(fileSystem: FileSystem, dir: string, parts: readonly BegunPart[]): Promise<void> {
  const file = await LineFile.create(fileSystem, join(dir, begunPartsName));
  try {
    for (const { path, sha256 } of parts) if (file.add(JSON.stringify({ path, sha256 }))) await file.flush();
    await file.finish();
  } finally {
    await file.abandon();
  }
  await fileSystem.syncDir(dir);
}
