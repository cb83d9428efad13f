/** Makes an output folder ready for a job: never over results that are there, unless the caller says so. */
import { readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { removeForeign } from '../../common/io/remove-foreign.ts';
import { logsDirName, ownLogs, readmeTitle } from '../logs/log-tree.ts';
import { readBegunParts } from './begun-parts.ts';
import { listCustomFiles, sealedJobName } from './custom-listing.ts';
import type { PartNames } from './part-names.ts';
import {
  attemptsDirName,
  begunPartsName,
  checkOutputFileName,
  customTemporaryDirName,
  errorsName,
  isLaterPartial,
  isManifestChunkName,
  manifestDirName,
  manifestName,
  partialName,
  signatureName,
  someOf,
  successName,
  temporaryName,
} from './output-names.ts';

export interface OutputDirOptions {
  /** Absolute; made when absent. */
  readonly dir: string;
  /** Removes the results of an earlier job, and nothing else. Those of one that left neither row nor file always go. */
  readonly isOverwrite: boolean;
  /** Null with output_action summary_only. */
  readonly outputFileName: string | null;
  /** What worker nodes will make of the rows; null or absent: the rows are the output. */
  readonly parts?: PartNames | null;
  /** Called when the folder is there and may be used, before anything in it goes; what it throws refuses the folder. */
  readonly guard?: (dir: string) => Promise<void>;
}

export interface PreparedOutputDir {
  /** Results of an earlier job that were removed; relative names. */
  readonly removed: readonly string[];
  /** Files and folders that are not ours; they stay. The caller tells the user of them. */
  readonly foreign: readonly string[];
}

/** Whether the folder may be used, which is made when absent; nothing in it goes. @throws as {@link prepareOutputDir} */
export async function lookAtOutputDir(options: OutputDirOptions): Promise<void> {
  await used(options.dir, () => resultsToReplace(options));
}

/** @throws OUTPUT_EXISTS, STATE_UNWRITABLE, CONFIG_INVALID */
export async function prepareOutputDir(options: OutputDirOptions): Promise<PreparedOutputDir> {
  const { dir, guard } = options;
  return await used(dir, async () => {
    const ours = await resultsToReplace(options);
    await guard?.(dir);
    await removeResults(dir, ours);
    const left = await readdir(dir);
    return { removed: ours, foreign: left.sort() };
  });
}

async function used<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    throw new BatchError('STATE_UNWRITABLE', `the output folder ${dir} cannot be used: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** Results of an earlier job that may go, in the order in which they must. */
async function resultsToReplace(options: OutputDirOptions): Promise<readonly string[]> {
  const { dir, isOverwrite, outputFileName, parts = null } = options;
  if (outputFileName !== null) checkOutputFileName(outputFileName);
  await makeFolder(dir);
  const names = await readdir(dir);
  const ours = await namesOfResults(dir, names, outputFileName, parts);
  const mayGo = isOverwrite ? ours : await fruitless(dir, ours);
  const inTheWay = ours.filter((name) => !mayGo.includes(name));
  if (inTheWay.length > 0) throw exists(dir, inTheWay);
  await probe(dir);
  return ours;
}

/** Removes the results and logs of one job, and nothing else; false when the folder holds those of another one, or none. */
export async function removeOutput(dir: string, outputFileName: string | null, job: string): Promise<boolean> {
  try {
    if ((await sealedJobName(dir)) !== job) return false;
    await removeResults(dir, await namesOfResults(dir, await readdir(dir), outputFileName, null));
    return true;
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    const message = `the results in ${dir} cannot be removed: ${reasonOf(error)}`;
    throw new BatchError('STATE_UNWRITABLE', message, { cause: error });
  }
}

/**
 * What of `names` an earlier job has written, in the order in which it must go: a folder that is only half cleared never looks complete.
 * The earlier job's output may have had another name; its manifest says which.
 */
async function namesOfResults(
  dir: string,
  names: readonly string[],
  outputFileName: string | null,
  parts: PartNames | null,
): Promise<readonly string[]> {
  const outputs = [outputFileName, await earlierOutputName(dir)].filter((name) => name !== null);
  const possible = [
    ...outputs.flatMap((name) => [name, partialName(name)]),
    errorsName,
    signatureName,
    manifestDirName,
    manifestName,
    begunPartsName,
    customTemporaryDirName,
    attemptsDirName,
  ].flatMap((name) => [name, temporaryName(name)]);
  const later = names.filter((name) => outputs.some((output) => isLaterPartial(name, output)));
  const first = names.includes(successName) ? [successName] : [];
  const made = parts === null ? [] : await partsIn(dir, names, parts);
  const results = [...new Set([...first, ...made, ...possible.filter((name) => names.includes(name)), ...later])];
  return names.includes(logsDirName) && (await isLogFolder(dir)) ? [...results, logsDirName] : results;
}

/** Files that have names of parts, by paths below the folder; `names`: what is at its top. */
async function partsIn(dir: string, names: readonly string[], parts: PartNames): Promise<readonly string[]> {
  const [begin, ...folders] = parts.folders;
  if (begin === undefined) return names.filter((name) => parts.isPart(name)).sort();
  const found: string[] = [];
  for (const name of names.filter((one) => one.startsWith(begin)).sort()) {
    try {
      const below = await partsIn(join(dir, name), await readdir(join(dir, name)), { ...parts, folders });
      for (const path of below) found.push(`${name}/${path}`);
    } catch (error) {
      // A file, which is told when the folder is to be made.
      if (errnoOf(error) !== 'ENOTDIR') throw error;
    }
  }
  return found;
}

/**
 * What of `ours` goes without being asked for: an earlier job ended here without a row or a file, and whoever mends its script starts it
 * again into the same folder. Nothing but what its manifest vouches for: a file of somebody else may have the name of a result.
 */
async function fruitless(dir: string, ours: readonly string[]): Promise<readonly string[]> {
  const {
    verdict,
    generation = 1,
    output,
    errors,
    signed_by: signedBy,
    custom_counts: custom,
  } = (await readManifest(dir)) ?? {};
  const isFruitless = (verdict === 'Failed' || verdict === 'Canceled') && !output?.bytes && custom?.files === 0;
  if (!isFruitless) return [];
  const own = [manifestName, manifestDirName, logsDirName];
  if (errors) own.push(errorsName);
  if (signedBy) own.push(signatureName);
  const rows = await earlierOutputName(dir);
  const partials = rows === null ? [] : Array.from({ length: generation }, (_, at) => partialName(rows, at + 1));
  for (const name of partials) if (ours.includes(name) && (await stat(join(dir, name))).size === 0) own.push(name);
  return ours.filter((name) => own.includes(name));
}

/** A folder of that name that somebody else has made stays. */
async function isLogFolder(dir: string): Promise<boolean> {
  try {
    return (await readFile(join(dir, logsDirName, ownLogs.readme), 'utf8')).startsWith(readmeTitle);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(errnoOf(error))) return false;
    throw error;
  }
}

async function earlierOutputName(dir: string): Promise<string | null> {
  const path = (await readManifest(dir))?.output?.path ?? null;
  const name = path?.replace(/(\.generation-\d+)?\.partial$/, '') ?? null;
  try {
    if (name !== null) checkOutputFileName(name);
    return name;
  } catch (error) {
    if (error instanceof BatchError) return null;
    throw error;
  }
}

const manifestSchema = z.object({
  verdict: z.string().optional(),
  generation: z.number().int().min(1).max(10_000).optional(),
  errors: z.unknown().optional(),
  signed_by: z.unknown().optional(),
  output: z.object({ path: z.string().optional(), bytes: z.number().optional() }).nullish(),
  custom_counts: z.object({ files: z.number() }).optional(),
});

/** Null without a manifest, and for one that says nothing to us. */
async function readManifest(dir: string): Promise<z.infer<typeof manifestSchema> | null> {
  try {
    return manifestSchema.safeParse(JSON.parse(await readFile(join(dir, manifestName), 'utf8'))).data ?? null;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return null;
    throw error;
  }
}

async function removeResult(dir: string, name: string): Promise<void> {
  const path = join(dir, name);
  if ([logsDirName, customTemporaryDirName, attemptsDirName].includes(name)) return removeForeign(path);
  if (name !== manifestDirName) return rm(path, { force: true });
  for (const chunk of await readdir(path)) {
    if (isManifestChunkName(chunk)) await rm(join(path, chunk), { force: true });
  }
  try {
    await rmdir(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY') throw error;
  }
}

/** `_SUCCESS` goes first, and the list of files of user code last, with the manifest: a removal that is broken off can be said again. */
async function removeResults(dir: string, ours: readonly string[]): Promise<void> {
  if (ours.length === 0) return;
  await rm(join(dir, successName), { force: true });
  await removeCustomFiles(dir);
  for (const name of ours) await removeResult(dir, name);
  await removeEmptyFolders(dir, ours);
}

/** Files that the earlier job's user code wrote, as its manifest names them, and the folders that are empty then. */
async function removeCustomFiles(dir: string): Promise<void> {
  const listed = [...(await listCustomFiles(dir)), ...(await readBegunParts(nodeFileSystem, dir))];
  const paths = listed.map(({ path }) => path);
  for (const path of paths) await rm(join(dir, path), { force: true });
  await removeEmptyFolders(dir, paths);
}

/** Folders that files of these paths were in. */
async function removeEmptyFolders(dir: string, paths: readonly string[]): Promise<void> {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) folders.add(folder);
  }
  const deepestFirst = [...folders].sort((a, b) => b.length - a.length);
  for (const folder of deepestFirst) await nodeFileSystem.removeDir(join(dir, folder));
}

/** Permissions, a full disk, a read-only mount: better known now than after the first mini-batch. */
async function probe(dir: string): Promise<void> {
  const path = join(dir, temporaryName('_probe'));
  await writeFile(path, 'x');
  await rm(path);
}

function exists(dir: string, found: readonly string[]): BatchError {
  return new BatchError(
    'OUTPUT_EXISTS',
    `${dir} holds results already (${someOf(found)}); choose another output folder, or say --overwrite to replace them`,
  );
}
