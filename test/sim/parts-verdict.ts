/** The verdict on an output that is made of parts, from what lies on the disk. */
import { hasParts, rowsFileName } from '../../common/core/parts-form.ts';
import { partialOutputName } from '../../coordinator/core/generation.ts';
import type { Job } from '../../coordinator/core/ledger.ts';
import { listCustomFiles } from '../../coordinator/output/custom-listing.ts';
import type { SimDisk } from './disk.ts';
import { prologue, rowsOfPart } from './sim-input.ts';
import { stillDisk } from './still-disk.ts';

export interface PartsOptions {
  readonly disk: SimDisk;
  readonly outputDir: string;
  readonly job: Job;
  /** The folder holds an earlier generation, which is complete. */
  readonly isOlder: boolean;
}

export interface FoundRows {
  /** Where they were looked for. */
  readonly name: string;
  /** Header and rows; null when they are not there. */
  readonly content: Buffer | null;
}

/** The rows as whoever asked for them finds them: one file, or the parts one behind the other. */
export function findRows({ disk, outputDir, job, isOlder }: PartsOptions): FoundRows {
  const { settings } = job.deployment;
  const rowsName = rowsFileName(settings) as string;
  const isWhole = job.state === 'Completed' || isOlder;
  if (isWhole && hasParts(settings)) return { name: 'the output of parts', content: joined(disk, outputDir) };
  const name = isWhole ? rowsName : partialOutputName(rowsName, job.generation);
  return { name, content: disk.content(`${outputDir}/${name}`) };
}

function joined(disk: SimDisk, outputDir: string): Buffer | null {
  const parts = partNames(disk, outputDir).map((name) => disk.content(`${outputDir}/${name}`) as Buffer);
  const [first] = parts;
  return first ? Buffer.concat([first, ...parts.slice(1).map((part) => part.subarray(prologue.length))]) : null;
}

/** All that looks like one, in order. */
function partNames(disk: SimDisk, outputDir: string): readonly string[] {
  return namesIn(disk, outputDir).filter((name) => name.startsWith('part-'));
}

function namesIn(disk: SimDisk, outputDir: string): readonly string[] {
  const prefix = `${outputDir}/`;
  const paths = disk.paths().filter((path) => path.startsWith(prefix));
  return paths.map((path) => path.slice(prefix.length)).sort();
}

/** Nothing but the parts that the manifest names, and the rows that they were made from only where somebody needs them. */
export async function judgeParts(options: PartsOptions, faults: string[]): Promise<void> {
  const { disk, outputDir, job, isOlder } = options;
  if (!hasParts(job.deployment.settings)) return;
  const rowsName = rowsFileName(job.deployment.settings) as string;
  const names = partNames(disk, outputDir);
  if (job.state !== 'Completed' && !isOlder) {
    // Where the disk has refused the end of a job that had all, its parts may have been in place.
    if (names.length > 0 && job.error?.code !== 'STATE_UNWRITABLE')
      faults.push(`parts of ${job.state}: ${list(names)}`);
    return;
  }
  const wanted = names.map((_, index) => `part-${String(index).padStart(5, '0')}.csv`);
  if (list(names) !== list(wanted)) faults.push(`parts are called ${list(names)}`);
  const found = names.map((name) => ({ name, data: disk.content(`${outputDir}/${name}`) as Buffer }));
  const headless = found.filter(({ data }) => !data.toString('latin1').startsWith(prologue));
  if (headless.length > 0) faults.push(`without a header: ${list(headless.map(({ name }) => name))}`);
  const told = await listCustomFiles(outputDir, stillDisk(disk));
  const toldParts = told.flatMap(({ path, bytes, rows }) => (rows === undefined ? [] : [`${path} ${bytes} ${rows}`]));
  const real = found.map((part) => `${part.name} ${part.data.length} ${rowsOfPart(part)}`);
  if (list(toldParts) !== list(real)) faults.push(`the manifest tells of ${list(toldParts)}, there are ${list(real)}`);
  judgeLeftRows(options, rowsName, faults);
}

/** Whoever scores failed files again takes the other rows from there. */
function judgeLeftRows({ disk, outputDir, job, isOlder }: PartsOptions, rowsName: string, faults: string[]): void {
  const left = namesIn(disk, outputDir).filter((name) => name.startsWith(rowsName));
  const wanted = job.failedFiles > 0 || isOlder ? [rowsName] : [];
  const own = isOlder ? left.filter((name) => !name.endsWith('.partial')) : left;
  if (list(own) !== list(wanted)) faults.push(`of the rows there are ${list(left)} instead of ${list(wanted)}`);
  const rows = disk.content(`${outputDir}/${rowsName}`);
  if (rows && !joined(disk, outputDir)?.equals(rows)) faults.push(`the parts are not the rows of ${rowsName}`);
}

const list = (names: readonly string[]): string => names.join(', ');
