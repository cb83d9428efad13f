/**
 * Ends a job's output folder: manifest chunks, errors, the output's final name, the manifest, and `_SUCCESS` last. Each step is
 * idempotent, so that a crash anywhere is healed by sealing again; a reader that sees `_SUCCESS` sees everything.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { outsideError } from '../../common/io/errno.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { publishCustomFiles, type CustomSource, type PublishedFiles } from './custom-publish.ts';
import { LineFile } from './line-file.ts';
import {
  errorsName,
  isManifestChunkName,
  manifestChunkName,
  type ManifestChunkKind,
  manifestDirName,
  manifestName,
  partialName,
  successName,
} from './output-names.ts';
import { sizeOf } from './recover-output.ts';
import type { ErrorLine, FileLine, SealedChunk, SealedFile, SealedOutput } from './sealed-lines.ts';

/** Of `_manifest.json`; grows by addition only. */
export const manifestFormat = 1;

export interface SealOptions {
  readonly dir: string;
  /** Null with output_action summary_only. */
  readonly outputFileName: string | null;
  /** Stands first in `_manifest.json`: job, deployment, digests, times, counts. The same at each try. */
  readonly header: Readonly<Record<string, unknown>>;
  /** One line per input file, in input order. */
  readonly files: AsyncIterable<FileLine>;
  /** One line per failed file, in input order. */
  readonly errors: AsyncIterable<ErrorLine>;
  /** Only `Completed` gives the output its final name and writes `_SUCCESS`. */
  readonly verdict: SealedOutput['verdict'];
  /** What user code wrote by itself; null where it has none. */
  readonly custom?: CustomSource | null;
  readonly fileSystem?: FileSystem;
  /** Lines per manifest chunk. */
  readonly chunkLinesMax?: number;
}

type Resolved = Required<SealOptions>;

/** @throws DISK_FULL (seal again when there is room), STATE_UNWRITABLE, OUTPUT_CORRUPT when a completed job's output is gone */
export async function sealOutput(given: SealOptions): Promise<SealedOutput> {
  const options = { fileSystem: nodeFileSystem, chunkLinesMax: limits.sealedChunkFilesMax, custom: null, ...given };
  try {
    return await seal(options);
  } catch (error) {
    throw outsideError(error, `the results in ${options.dir} cannot be sealed`) ?? error;
  }
}

async function seal(options: Resolved): Promise<SealedOutput> {
  const { dir, fileSystem, header, verdict } = options;
  // An earlier try may have come to its end as Completed.
  if (verdict !== 'Completed') await fileSystem.remove(join(dir, successName));
  const files = await writeChunks(options, 'files', options.files);
  const errors = await writeErrors(options);
  const custom = await sealCustom(options);
  const output = await sealFile(options);
  await fileSystem.syncDir(dir);
  const sealed: SealedOutput = { format: manifestFormat, verdict, output, files, errors, ...custom };
  await writeWhole(fileSystem, join(dir, manifestName), JSON.stringify({ ...header, ...sealed }, null, 2));
  await fileSystem.syncDir(dir);
  if (verdict === 'Completed') {
    await (await fileSystem.open(join(dir, successName), 'create')).close();
    await fileSystem.syncDir(dir);
  }
  return sealed;
}

type SealedCustom = Pick<SealedOutput, 'custom_files' | 'custom_chunks' | 'custom_counts'>;

/** What a job leaves that did not complete is better in part than not at all. */
async function sealCustom(options: Resolved): Promise<SealedCustom> {
  const { files, overwritten, error } = await publishOrTell(options);
  const isInline = files.length <= limits.customFilesInlineMax;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return {
    custom_files: isInline ? files : [],
    custom_chunks: await writeChunks(options, 'custom', isInline ? [] : files),
    custom_counts: { files: files.length, bytes, overwritten, error },
  };
}

async function publishOrTell(options: Resolved): Promise<PublishedFiles & { readonly error: string | null }> {
  const { custom, dir, outputFileName, fileSystem, verdict } = options;
  const none = { files: [], overwritten: 0, error: null };
  if (custom === null) return none;
  try {
    return { ...(await publishCustomFiles({ ...custom, dir, outputFileName, fileSystem })), error: null };
  } catch (error) {
    const isTold = error instanceof BatchError && error.code === 'OUTPUT_CORRUPT' && verdict !== 'Completed';
    if (isTold) return { ...none, error: error.message };
    throw error;
  }
}

async function writeChunks(
  { dir, fileSystem, chunkLinesMax }: Resolved,
  kind: ManifestChunkKind,
  lines: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<readonly SealedChunk[]> {
  const chunkDir = join(dir, manifestDirName);
  await fileSystem.makeDir(chunkDir);
  const chunks: SealedChunk[] = [];
  let open: LineFile | null = null;
  const finish = async (file: LineFile): Promise<void> => {
    const path = `${manifestDirName}/${manifestChunkName(chunks.length, kind)}`;
    chunks.push({ path, ...(await file.finish()), lines: file.lines });
  };
  try {
    for await (const line of lines) {
      open ??= await LineFile.create(fileSystem, join(chunkDir, manifestChunkName(chunks.length, kind)));
      await open.add(JSON.stringify(line));
      if (open.lines < chunkLinesMax) continue;
      await finish(open);
      open = null;
    }
    if (open) await finish(open);
    open = null;
  } finally {
    await open?.abandon();
  }
  const removed = await removeOthers(fileSystem, chunkDir, kind, chunks.length);
  if (chunks.length + removed > 0) await fileSystem.syncDir(chunkDir);
  return chunks;
}

/** Chunks of an earlier try that had more of them; how many there were. */
async function removeOthers(
  fileSystem: FileSystem,
  chunkDir: string,
  kind: ManifestChunkKind,
  chunks: number,
): Promise<number> {
  const keep = new Set(Array.from({ length: chunks }, (_, index) => manifestChunkName(index, kind)));
  const names = await fileSystem.list(chunkDir);
  const others = names.filter((name) => name.startsWith(kind) && isManifestChunkName(name) && !keep.has(name));
  for (const name of others) await fileSystem.remove(join(chunkDir, name));
  return others.length;
}

async function writeErrors({ dir, fileSystem, errors }: Resolved): Promise<SealedChunk | null> {
  const path = join(dir, errorsName);
  let open: LineFile | null = null;
  try {
    for await (const line of errors) {
      open ??= await LineFile.create(fileSystem, path);
      await open.add(JSON.stringify(line));
    }
    if (open === null) {
      await fileSystem.remove(path);
      return null;
    }
    const file = open;
    const sealed = await file.finish();
    open = null;
    return { path: errorsName, ...sealed, lines: file.lines };
  } finally {
    await open?.abandon();
  }
}

/** Digests the output and, for a completed job, gives it its final name; both may have happened in an earlier try. */
async function sealFile({ dir, fileSystem, outputFileName, verdict }: Resolved): Promise<SealedFile | null> {
  if (outputFileName === null) return null;
  const partial = partialName(outputFileName);
  const isPartialThere = (await sizeOf(fileSystem, join(dir, partial))) !== null;
  if (verdict !== 'Completed') {
    return isPartialThere ? { path: partial, ...(await digest(fileSystem, join(dir, partial))) } : null;
  }
  if (isPartialThere) await fileSystem.rename(join(dir, partial), join(dir, outputFileName));
  else if ((await sizeOf(fileSystem, join(dir, outputFileName))) === null) {
    throw new BatchError('OUTPUT_CORRUPT', `${join(dir, partial)} is gone; restore it, or run the job again`);
  }
  return { path: outputFileName, ...(await digest(fileSystem, join(dir, outputFileName))) };
}

async function digest(fileSystem: FileSystem, path: string): Promise<Omit<SealedFile, 'path'>> {
  const file = await fileSystem.open(path, 'read');
  try {
    const hash = createHash('sha256');
    const block = Buffer.allocUnsafe(1_048_576);
    let bytes = 0;
    for (let count = await file.read(block, 0); count > 0; count = await file.read(block, bytes)) {
      hash.update(block.subarray(0, count));
      bytes += count;
    }
    return { bytes, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}

async function writeWhole(fileSystem: FileSystem, path: string, text: string): Promise<void> {
  const file = await LineFile.create(fileSystem, path);
  try {
    await file.add(text);
  } catch (error) {
    await file.abandon();
    throw error;
  }
  await file.finish();
}
