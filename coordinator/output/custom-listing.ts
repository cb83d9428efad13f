/** Reads back which files of user code a sealed output folder names, from `_manifest.json` or the chunks beside it. */
import { join } from 'node:path';
import * as z from 'zod';
import { parseJson } from '../../common/core/parse-json.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { readText } from '../../common/io/if-there.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { broughtPathDefect, customPathDefect } from '../../common/storage/custom-path.ts';
import type { CustomFileLine } from './sealed-lines.ts';
import { isManifestChunkName, manifestDirName, manifestName } from './output-names.ts';

const fileShape = z.object({
  path: z.string(),
  bytes: z.number(),
  sha256: z.string().optional(),
  mini_batches: z.number().optional(),
  wanted_path: z.string().optional(),
  rows: z.number().optional(),
});
const manifestShape = z.object({
  custom_files: z.array(fileShape),
  custom_chunks: z.array(z.object({ path: z.string() })),
});

const namedShape = z.object({
  name: z.string(),
  created_at: z.string().optional(),
  output: z.object({ path: z.string() }).nullish(),
});

/** A file that user code wrote, as its manifest names it. */
export interface ListedCustomFile {
  /** Relative to the output folder, and within it. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256?: string | undefined;
  readonly mini_batches?: number | undefined;
  readonly wanted_path?: string | undefined;
  readonly rows?: number | undefined;
}

/** Name of the job whose manifest is there; null without one. */
export async function sealedJobName(dir: string, fileSystem: FileSystem = nodeFileSystem): Promise<string | null> {
  return manifestOf(await readText(fileSystem, join(dir, manifestName)))?.name ?? null;
}

/** The same, when the folder's manifest is of this very job: what sealing it again may replace. */
export async function earlierCustomFiles(
  dir: string,
  job: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<readonly CustomFileLine[]> {
  if ((await sealedJobName(dir, fileSystem)) !== job) return [];
  const found = await listCustomFiles(dir, fileSystem);
  return found.flatMap(({ path, bytes, sha256, mini_batches = 0, wanted_path, rows }) => {
    if (sha256 === undefined) return [];
    const told = { ...(wanted_path === undefined ? {} : { wanted_path }), ...(rows === undefined ? {} : { rows }) };
    return [{ path, bytes, sha256, mini_batches, ...told }];
  });
}

/** Empty where there is no manifest, or one that says nothing of them. Names that lead elsewhere are passed over. */
export async function listCustomFiles(
  dir: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<readonly ListedCustomFile[]> {
  const read = (path: string): Promise<string | null> => readText(fileSystem, join(dir, path));
  return await listedFiles(await read(manifestName), read);
}

/** The same, from the text of a manifest; `read`: of another file of its folder, null when it is not there. */
export async function listedFiles(
  manifestText: string | null,
  read: (path: string) => Promise<string | null>,
): Promise<readonly ListedCustomFile[]> {
  const manifest = manifestShape.safeParse(parseJson(manifestText ?? ''));
  if (!manifest.success) return [];
  const found: ListedCustomFile[] = [...manifest.data.custom_files];
  for (const { path } of manifest.data.custom_chunks) {
    const name = path.slice(manifestDirName.length + 1);
    if (path !== `${manifestDirName}/${name}` || !isManifestChunkName(name)) continue;
    const lines = ((await read(path)) ?? '').split('\n').filter((line) => line !== '');
    for (const line of lines) {
      const file = fileShape.safeParse(parseJson(line));
      if (file.success) found.push(file.data);
    }
  }
  return found.filter(({ path }) => broughtPathDefect(path, null) === null);
}

export interface NamedManifest {
  readonly name: string;
  /** When the job was submitted: coordinators know nothing of each other's names. */
  readonly createdAt: string | null;
  readonly output: string | null;
  readonly text: string;
}

/** The job that a manifest is of, the file of its rows, and its text; null for what is none of ours. */
export function manifestOf(text: string | null): NamedManifest | null {
  const manifest = namedShape.safeParse(parseJson(text ?? ''));
  if (!manifest.success || text === null) return null;
  const { name, created_at: createdAt = null, output } = manifest.data;
  const path = output?.path ?? null;
  return {
    ...{ name, createdAt },
    output: path !== null && customPathDefect(path.replace(/\.partial$/, ''), null) === null ? path : null,
    text,
  };
}
