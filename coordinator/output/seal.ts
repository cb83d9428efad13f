/**
 * Ends a job's output folder: manifest chunks, errors, the output's final name, the manifest, and `_SUCCESS` last. Each step is
 * idempotent, so that a crash anywhere is healed by sealing again; a reader that sees `_SUCCESS` sees everything.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { outsideError } from '../../common/io/errno.ts';
import { removeTree } from '../../common/io/remove-tree.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { publishCustomFiles, type CustomSource, type PublishedFiles } from './custom-publish.ts';
import { fileLineText } from './file-line-text.ts';
import { LineFile } from './line-file.ts';
import {
  attemptsDirName,
  begunPartsName,
  errorsName,
  isManifestChunkName,
  manifestChunkName,
  type ManifestChunkKind,
  manifestDirName,
  manifestName,
  partialName,
  signatureName,
  successName,
} from './output-names.ts';
import { sizeOf } from './recover-output.ts';
import { publishParts, sumOfRows, type PartsSource } from './seal-parts.ts';
import { blocksOf, digestFile } from './read-blocks.ts';
import { completeFile, cutToCommitted, endFile, removeEarlier, takeNameBack } from './replace-output.ts';
import type {
  CustomFileLine,
  ErrorLine,
  FileLine,
  SealedChunk,
  SealedFile,
  SealedOutput,
  SealedTotals,
  SegmentLine,
  SignedBy,
} from './sealed-lines.ts';
import { SegmentWalk, type DamagedPlace, type OutputLayout } from './segments.ts';

/** Of `_manifest.json`; grows by addition only. 2: segments, totals, attempts, signature. */
export const manifestFormat = 3;

export interface SealOptions {
  readonly dir: string;
  /** Null with output_action summary_only. */
  readonly outputFileName: string | null;
  /** Stands first in `_manifest.json`: job, deployment, digests, times, counts. The same at each try. */
  readonly header: Readonly<Record<string, unknown>>;
  /** One line per input file, in input order and some at a time. */
  readonly files: AsyncIterable<readonly FileLine[]>;
  /** One line per failed file, in input order. */
  readonly errors: AsyncIterable<ErrorLine>;
  /** Where the rows lie in the output file; null where there is none. */
  readonly layout?: OutputLayout | null;
  /** Signs `_manifest.json`; null: it is not signed. */
  readonly signer?: ManifestSigner | null;
  /** Only `Completed` gives the output its final name and writes `_SUCCESS`. */
  readonly verdict: SealedOutput['verdict'];
  /** What was made of the rows; null where they are the output as they are. */
  readonly parts?: PartsSource | null;
  /** What user code wrote by itself; null where it has none. */
  readonly custom?: CustomSource | null;
  /** Of the output, from 1; a later one replaces the one before. */
  readonly generation?: number;
  /** Committed bytes of the output; null when unknown. */
  readonly outputBytes?: number | null;
  /** Stands behind the rows of an output that is complete. */
  readonly epilogue?: Uint8Array;
  /** Files that the job had for itself, and a complete output does not need: removed before `_SUCCESS`. */
  readonly workingFiles?: readonly string[];
  /** Files of user code, and parts, that an earlier end of this very job has put in place. */
  readonly earlierCustom?: readonly CustomFileLine[];
  readonly fileSystem?: FileSystem;
  /** Lines per manifest chunk. */
  readonly chunkLinesMax?: number;
  /** Bytes of the output from which on a segment is closed. */
  readonly segmentBytes?: number;
}

export interface ManifestSigner {
  /** What the manifest names. */
  readonly signedBy: SignedBy;
  /** A JSON Web Signature without its content. @source RFC 7515 appendix F */
  sign(content: Uint8Array): string;
}

type Resolved = Required<SealOptions>;

const absent = { parts: null, custom: null, layout: null, signer: null, segmentBytes: limits.sealedSegmentBytes };

/** @throws DISK_FULL (seal again when there is room), STATE_UNWRITABLE, OUTPUT_CORRUPT when a completed job's output is gone */
export async function sealOutput(given: SealOptions): Promise<SealedOutput> {
  const options = {
    ...{ fileSystem: nodeFileSystem, chunkLinesMax: limits.sealedChunkFilesMax, ...absent },
    ...{ generation: 1, outputBytes: null, epilogue: new Uint8Array(0), earlierCustom: [], workingFiles: [] },
    ...given,
  };
  try {
    return await seal(options);
  } catch (error) {
    throw outsideError(error, `the results in ${options.dir} cannot be sealed`) ?? error;
  }
}

async function seal(options: Resolved): Promise<SealedOutput> {
  const { dir, fileSystem, header, verdict, generation } = options;
  // An earlier try may have come to its end as Completed.
  if (verdict !== 'Completed') await fileSystem.remove(join(dir, successName));
  const tally = new FileTally();
  const [files, { output, segments, rows }] = await both(
    writeChunks(options, 'files', tally.count(options.files), fileLineText),
    sealFile(options),
  );
  if (generation > 1) {
    // From here on the folder is neither the old output nor the new one.
    await fileSystem.remove(join(dir, successName));
    await fileSystem.syncDir(dir);
  }
  const errors = await writeErrors(options);
  const parts = await publishParts(options);
  const custom = await sealCustom(options, parts);
  if (await removeTree(fileSystem, join(dir, attemptsDirName))) await fileSystem.syncDir(dir);
  await nameFile(options);
  await fileSystem.syncDir(dir);
  const totals = {
    ...tally.totals(),
    rows: options.parts ? sumOfRows(parts) : rows,
    output_bytes: output?.bytes ?? null,
  };
  const signed_by = options.signer?.signedBy ?? null;
  const sealed: SealedOutput = {
    ...{ format: manifestFormat, generation, verdict, output, files, errors, ...custom },
    ...{ segments, totals, signed_by },
  };
  await writeManifest(options, `${JSON.stringify({ ...header, ...sealed }, null, 2)}\n`);
  await clearEarlier(options, sealed);
  if (verdict === 'Completed') {
    for (const name of options.workingFiles) await fileSystem.remove(join(dir, name));
    await (await fileSystem.open(join(dir, successName), 'create')).close();
    await fileSystem.syncDir(dir);
  }
  return sealed;
}

/** Side by side; when one fails, the other has ended as well before anything is tried again. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return await Promise.all([a, b]);
}

type SealedCustom = Pick<SealedOutput, 'custom_files' | 'custom_chunks' | 'custom_counts'>;

/** What a job leaves that did not complete is better in part than not at all. */
async function sealCustom(options: Resolved, parts: readonly CustomFileLine[]): Promise<SealedCustom> {
  const { files: own, overwritten, error } = await publishOrTell(options);
  const files = parts.length === 0 ? own : [...parts, ...own].sort((a, b) => (a.path < b.path ? -1 : 1));
  const isInline = files.length <= limits.customFilesInlineMax;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return {
    custom_files: isInline ? files : [],
    custom_chunks: await writeChunks(options, 'custom', isInline ? [] : [files]),
    custom_counts: { files: files.length, bytes, overwritten, error },
  };
}

async function publishOrTell(options: Resolved): Promise<PublishedFiles & { readonly error: string | null }> {
  const { custom, dir, outputFileName, fileSystem, verdict } = options;
  const none = { files: [], overwritten: 0, error: null };
  if (custom === null) return none;
  try {
    const earlierCustom = options.earlierCustom.filter(({ rows }) => rows === undefined);
    const earlier = new Map(earlierCustom.map((line) => [line.path, [line.sha256]]));
    const published = await publishCustomFiles({ ...custom, dir, outputFileName, fileSystem, earlier });
    return { ...published, files: await withEarlier({ ...options, earlierCustom }, published.files), error: null };
  } catch (error) {
    const isTold = error instanceof BatchError && error.code === 'OUTPUT_CORRUPT' && verdict !== 'Completed';
    if (isTold) return { ...none, error: error.message };
    throw error;
  }
}

/** Files that are in place from before, and that nothing was written over. */
async function withEarlier(
  { dir, fileSystem, earlierCustom }: Resolved,
  files: readonly CustomFileLine[],
): Promise<readonly CustomFileLine[]> {
  const paths = new Set(files.map(({ path }) => path));
  const left: CustomFileLine[] = [];
  for (const line of earlierCustom) {
    if (!paths.has(line.path) && (await sizeOf(fileSystem, join(dir, line.path))) === line.bytes) left.push(line);
  }
  return left.length === 0 ? files : [...files, ...left].sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function writeChunks<Line>(
  { dir, fileSystem, chunkLinesMax, generation }: Resolved,
  kind: ManifestChunkKind,
  groups: AsyncIterable<readonly Line[]> | Iterable<readonly Line[]>,
  textOf: (line: Line) => string = JSON.stringify,
): Promise<readonly SealedChunk[]> {
  const chunkDir = join(dir, manifestDirName);
  await fileSystem.makeDir(chunkDir);
  const chunks: SealedChunk[] = [];
  let open: LineFile | null = null;
  const finish = async (file: LineFile): Promise<void> => {
    const path = `${manifestDirName}/${manifestChunkName(chunks.length, kind, generation)}`;
    chunks.push({ path, ...(await file.finish()), lines: file.lines });
  };
  try {
    for await (const lines of groups) {
      for (const line of lines) {
        open ??= await LineFile.create(fileSystem, join(chunkDir, manifestChunkName(chunks.length, kind, generation)));
        if (open.add(textOf(line))) await open.flush();
        if (open.lines < chunkLinesMax) continue;
        await finish(open);
        open = null;
      }
    }
    if (open) await finish(open);
    open = null;
  } finally {
    await open?.abandon();
  }
  if (chunks.length > 0) await fileSystem.syncDir(chunkDir);
  return chunks;
}

/** What the manifest does not name any more: chunks of an earlier try that had more of them, or of an earlier generation. */
async function clearEarlier(options: Resolved, sealed: SealedOutput): Promise<void> {
  const { dir, fileSystem, outputFileName, verdict } = options;
  const chunkDir = join(dir, manifestDirName);
  const keep = new Set([...sealed.files, ...sealed.custom_chunks, ...sealed.segments].map(({ path }) => path));
  const names = await fileSystem.list(chunkDir);
  const others = names.filter((name) => isManifestChunkName(name) && !keep.has(`${manifestDirName}/${name}`));
  for (const name of others) await fileSystem.remove(join(chunkDir, name));
  if (others.length > 0) await fileSystem.syncDir(chunkDir);
  // The manifest vouches for them from here on.
  if (options.parts !== null) await fileSystem.remove(join(dir, begunPartsName));
  if (verdict === 'Completed' && outputFileName !== null) await removeEarlier({ ...options, outputFileName });
}

async function writeErrors({ dir, fileSystem, errors }: Resolved): Promise<SealedChunk | null> {
  const path = join(dir, errorsName);
  let open: LineFile | null = null;
  try {
    for await (const line of errors) {
      open ??= await LineFile.create(fileSystem, path);
      if (open.add(JSON.stringify(line))) await open.flush();
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

/** Gives a completed output its final name. */
async function nameFile(options: Resolved): Promise<void> {
  const { dir, fileSystem, outputFileName, verdict } = options;
  if (outputFileName === null || verdict !== 'Completed') return;
  const path = await completeFile({ ...options, outputFileName });
  const final = join(dir, outputFileName);
  if (path !== final) await fileSystem.rename(path, final);
}

interface SealedRows {
  readonly output: SealedFile | null;
  readonly segments: readonly SealedChunk[];
  readonly rows: number | null;
}

/** Digests the output, which for a completed job may have its final name already. */
async function sealFile(options: Resolved): Promise<SealedRows> {
  const { dir, fileSystem, outputFileName, verdict, generation } = options;
  const none = { output: null, segments: [], rows: null };
  if (outputFileName === null) return none;
  const place = { ...options, outputFileName };
  if (verdict === 'Completed') {
    const { digest, segments, rows } = await digestRows(options, await endFile(place));
    return { output: { path: outputFileName, ...digest }, segments, rows };
  }
  const partial = partialName(outputFileName, generation);
  await takeNameBack(place);
  await cutToCommitted(place);
  if ((await sizeOf(fileSystem, join(dir, partial))) === null) return none;
  const { digest, segments, rows } = await digestRows(options, join(dir, partial));
  return { output: { path: partial, ...digest }, segments, rows };
}

interface DigestedRows {
  readonly digest: Omit<SealedFile, 'path'>;
  readonly segments: readonly SealedChunk[];
  readonly rows: number | null;
}

/**
 * One reading of the output: its digest, its segments, and whether it is what was committed. A job that did not complete keeps
 * only what was committed; what had been written behind it is cut off.
 */
async function digestRows(options: Resolved, path: string): Promise<DigestedRows> {
  const { fileSystem, layout, verdict } = options;
  if (layout === null) return { digest: await digestFile(fileSystem, path), segments: [], rows: null };
  const ready: SegmentLine[] = [];
  const epilogue = verdict === 'Completed' ? options.epilogue : null;
  const walk = new SegmentWalk({ ...layout, epilogue }, (line) => ready.push(line), options.segmentBytes);
  const file = await fileSystem.open(path, verdict === 'Completed' ? 'read' : 'update');
  let digest = { bytes: 0, sha256: '' };
  let rows = 0;
  async function* lines(): AsyncGenerator<readonly SegmentLine[], void, void> {
    const take = (): readonly SegmentLine[] => {
      const lines = ready.splice(0);
      for (const line of lines) rows += line.rows;
      return lines;
    };
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const block of blocksOf(file)) {
      const own = walk.push(block);
      hash.update(block.subarray(0, own));
      bytes += own;
      yield take();
      if (own === block.length) continue;
      if (verdict === 'Completed') throw changed(path, `more than the ${bytes} bytes that were committed`);
      await file.truncate(bytes);
      await file.datasync();
      break;
    }
    const wanted = walk.end();
    yield take();
    const [first] = walk.damaged;
    if (verdict === 'Completed' && first) throw changed(path, damageText(first, walk.damaged.length, wanted, bytes));
    digest = { bytes, sha256: hash.digest('hex') };
  }
  try {
    const segments = await writeChunks(options, 'segments', lines());
    return { digest, segments, rows };
  } finally {
    await file.close();
  }
}

function damageText(
  { first, count, offset, bytes }: DamagedPlace,
  damaged: number,
  wanted: number,
  found: number,
): string {
  const size = found < wanted ? `${found} of ${wanted} bytes, and ` : '';
  const where = `bytes ${offset} to ${offset + bytes}`;
  const files = `rows of input files ${first} to ${first + count - 1}`;
  return `${size}${damaged} mini-batches with other bytes than were committed, the first at ${where} (${files})`;
}

function changed(path: string, found: string): BatchError {
  return new BatchError(
    'OUTPUT_CORRUPT',
    `${path} was changed from outside, or by its disk: it has ${found}; restore it, or run the job again`,
  );
}

/** The signature goes before the manifest that it is not of any more, and comes behind the one that it is of. */
async function writeManifest({ dir, fileSystem, signer }: Resolved, text: string): Promise<void> {
  await fileSystem.remove(join(dir, signatureName));
  await writeWhole(fileSystem, join(dir, manifestName), text);
  if (signer) await writeWhole(fileSystem, join(dir, signatureName), `${signer.sign(Buffer.from(text))}\n`);
  await fileSystem.syncDir(dir);
}

async function writeWhole(fileSystem: FileSystem, path: string, text: string): Promise<void> {
  const file = await LineFile.create(fileSystem, path);
  try {
    file.add(text.replace(/\n$/, ''));
    await file.finish();
  } finally {
    await file.abandon();
  }
}

/** Counts the files as their lines are written. */
class FileTally {
  #scored = 0;
  #failed = 0;
  #unscored = 0;
  #taken = 0;
  #bytes = 0;

  async *count(groups: AsyncIterable<readonly FileLine[]>): AsyncGenerator<readonly FileLine[], void, void> {
    for await (const files of groups) {
      for (const file of files) this.#add(file);
      yield files;
    }
  }

  #add({ status, taken, size_bytes: bytes }: FileLine): void {
    if (status === 'scored') this.#scored += 1;
    else if (status === 'failed') this.#failed += 1;
    else this.#unscored += 1;
    if (taken === true) this.#taken += 1;
    this.#bytes += bytes;
  }

  totals(): Omit<SealedTotals, 'rows' | 'output_bytes'> {
    const [scored, failed, unscored] = [this.#scored, this.#failed, this.#unscored];
    const files = scored + failed + unscored;
    return { files, scored, failed, unscored, taken: this.#taken, input_bytes: this.#bytes };
  }
}
