/** Where an output folder may not lie: where the next listing of the input would find it. */
import { opendir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { commandEnvironment, type Environment } from '../../common/config/process-settings.ts';
import { storeAccess } from '../../common/config/store-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import {
  below,
  folderKey,
  isUri,
  locationText,
  parseLocation,
  type AzureLocation,
  type StoreLocation,
} from '../../common/core/location.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { attemptsDirName } from './output-names.ts';

export interface OutputPlace {
  /** Absolute and there, or a location. */
  readonly inputPath: string;
  /** Absolute, or a location as the input is one; need not be there yet. */
  readonly outputDir: string;
  /** Whether the job looks into sub-folders of the input. */
  readonly isRecursive: boolean;
}

/** Where the attempts of a job put parts by themselves, each in a folder of its own. `output`: a path or a location. */
export function attemptsPlace(output: string, job: string): string {
  const name = `${attemptsDirName}/${job}`;
  return isUri(output) ? locationText(below(parseLocation(output) as StoreLocation, name)) : join(output, name);
}

/** The same text for the same place of a store, whoever wrote it: only to compare with. It ends in one `/`; a path stays what it is. */
export function placeKey(place: string, environment: Environment = commandEnvironment()): string {
  if (!isUri(place)) return place;
  const location = parseLocation(place) as StoreLocation;
  if (location.kind === 'web') return folderKey(location.url);
  const key = folderKey(location.key);
  if (location.kind !== 'azure') return locationText({ ...location, key });
  return `${azureAddress(location, environment)}/${location.container}/${key}`;
}

/** Blobs have one address, whatever scheme they are asked for by. */
function azureAddress(location: AzureLocation, environment: Environment): string {
  try {
    const { endpoint = '' } = storeAccess(location, '', environment).options;
    return endpoint.replace(/^https?:/, '').replace(/\/+$/, '');
  } catch (error) {
    // Which account is meant is asked for when the store is opened.
    if (error instanceof BatchError) return `${location.scheme}:/`;
    throw error;
  }
}

/**
 * Links are followed, those at the top of the input too. A single file as input, and hidden folders, into which no listing looks, are fine.
 * @throws OUTPUT_IN_INPUT
 */
export async function refuseOutputInInput(place: OutputPlace): Promise<void> {
  const { inputPath, outputDir, isRecursive } = place;
  for (const below of isUri(inputPath) ? belowLocation(inputPath, outputDir) : await belowFolder(place)) {
    const folders = below === '' ? [] : below.split('/');
    if (folders[0] === '..' || folders.some((name) => /^[._]/.test(name))) continue;
    if (folders.length > 0 && !isRecursive) continue;
    const where = folders.length === 0 ? 'is the input folder itself' : `lies in the input folder ${inputPath}`;
    throw new BatchError(
      'OUTPUT_IN_INPUT',
      `the output folder ${outputDir} ${where}: its results would be scored as input, if not now then by the next job; choose a folder outside of it`,
    );
  }
}

/** Relative, for each way in which the input may lead there; none when it is a file. */
async function belowFolder({ inputPath, outputDir, isRecursive }: OutputPlace): Promise<readonly string[]> {
  if (!(await stat(inputPath)).isDirectory()) return [];
  const output = await realPlace(outputDir);
  const ways = [relative(await realpath(inputPath), output)];
  for (const name of isRecursive ? await linksIn(inputPath) : []) {
    const below = relative(await realPlace(join(inputPath, name)), output);
    if (!below.startsWith('..')) ways.push(join(name, below));
  }
  return ways;
}

/** Of one folder, as far as that takes no time: a listing would look into all there are. */
async function linksIn(dir: string): Promise<readonly string[]> {
  const links: string[] = [];
  let entries = 0;
  try {
    for await (const entry of await opendir(dir, { bufferSize: 1_024 })) {
      if (entry.isSymbolicLink()) links.push(entry.name);
      entries += 1;
      if (entries >= entriesLookedAt) break;
    }
  } catch (error) {
    // What cannot be read is told by the listing.
    if (errnoOf(error) === '') throw error;
  }
  return links;
}

const entriesLookedAt = 10_000;

/** The same of two locations. */
function belowLocation(input: string, output: string): readonly string[] {
  const [folder, place] = [placeKey(input), placeKey(output)];
  return place.startsWith(folder) ? [place.slice(folder.length, -1)] : [];
}

/** The real path of what is there of `path`, with the rest behind it. */
async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    // What else is wrong with it is told when it is made.
    if (errnoOf(error) === '') throw error;
    return dirname(path) === path ? path : join(await realPlace(dirname(path)), basename(path));
  }
}
