/**
 * Parts that a job has begun to give their names: a list in the output folder, durable before the first of them has its own, and gone
 * once the manifest names them. What an end that came to nothing has left there is told by it from a file of somebody else.
 */
import { join } from 'node:path';
import * as z from 'zod';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { broughtPathDefect } from '../../common/storage/custom-path.ts';
import { readLineList, replaceLineList } from './line-list.ts';
import { begunPartsName } from './output-names.ts';

export interface BegunPart {
  /** Relative to the output folder, and within it. */
  readonly path: string;
  readonly sha256: string;
}

const lineShape = z.object({ path: z.string(), sha256: z.string() });

/** Empty where there is no list. @throws OUTPUT_CORRUPT */
export async function readBegunParts(fileSystem: FileSystem, dir: string): Promise<readonly BegunPart[]> {
  const parts = await readLineList(fileSystem, join(dir, begunPartsName), lineShape);
  return parts.filter(({ path }) => broughtPathDefect(path, null) === null);
}

/** Replaces the list; durable when it resolves. */
export async function writeBegunParts(fileSystem: FileSystem, dir: string, parts: readonly BegunPart[]): Promise<void> {
  const lines = parts.map(({ path, sha256 }) => ({ path, sha256 }));
  await replaceLineList(fileSystem, join(dir, begunPartsName), lines);
}
