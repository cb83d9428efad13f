/** Files of a folder that becomes an artifact. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';

export interface FolderFile {
  /** Relative to the folder, forward slashes. */
  readonly path: string;
  /** Absolute. */
  readonly from: string;
  readonly mode: number;
}

/** Made by Python and git beside the sources, different at each run: they would change the digest, never what is scored. */
const ignoredNames = new Set(['__pycache__', '.git']);

/** Whether a file at this relative path is left out of artifacts. */
export function isIgnoredPath(path: string): boolean {
  return path.endsWith('.pyc') || path.split('/').some((name) => ignoredNames.has(name));
}

/**
 * In no order. Links are followed as long as they stay within the folder.
 * @throws DEPLOYMENT_INVALID for links that leave it, what is neither file nor folder, and names that are not UTF-8
 */
export async function folderFiles(root: string): Promise<readonly FolderFile[]> {
  const files: FolderFile[] = [];
  const realRoot = await realpath(root);
  await walk({ root, realRoot, files }, '', [realRoot]);
  return files;
}

interface Walk {
  readonly root: string;
  readonly realRoot: string;
  readonly files: FolderFile[];
}

/** `above`: real paths of the folders that we are in. */
async function walk(into: Walk, relative: string, above: readonly string[]): Promise<void> {
  for (const entry of await readdir(join(into.root, relative), { withFileTypes: true })) {
    const path = relative === '' ? entry.name : `${relative}/${entry.name}`;
    if (ignoredNames.has(entry.name) || entry.name.endsWith('.pyc')) continue;
    if (/[\ufffd\\]/.test(entry.name)) throw invalid(into, path, 'has a name that is not portable; rename it');
    const from = join(into.root, path);
    const real = entry.isSymbolicLink() ? await target(into, path, from) : from;
    const stats = await stat(real);
    if (stats.isFile()) into.files.push({ path, from: real, mode: (stats.mode & 0o111) === 0 ? 0o644 : 0o755 });
    else if (stats.isDirectory()) await enter(into, path, real, above);
    else throw invalid(into, path, 'is neither a file nor a folder');
  }
}

async function enter(into: Walk, path: string, real: string, above: readonly string[]): Promise<void> {
  const resolved = await realpath(real);
  if (above.includes(resolved)) throw invalid(into, path, 'is a link to a folder that it lies in');
  await walk(into, path, [...above, resolved]);
}

async function target(into: Walk, path: string, from: string): Promise<string> {
  let real: string;
  try {
    real = await realpath(from);
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    throw invalid(into, path, `is a link that leads nowhere (${reasonOf(error)})`);
  }
  const isInside = real === into.realRoot || real.startsWith(into.realRoot + sep);
  if (!isInside)
    throw invalid(into, path, `is a link to ${real}, outside of the folder; copy what it needs into the folder`);
  return real;
}

function invalid(into: Walk, path: string, what: string): BatchError {
  return new BatchError('DEPLOYMENT_INVALID', `${join(into.root, path)} ${what}`);
}
