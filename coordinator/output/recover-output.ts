/** Brings a job's output file and staging folder to what the journal says, whatever a crash had left beyond it. */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { forkFile } from '../../common/io/fork-file.ts';
import { ifThere } from '../../common/io/if-there.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { partialName, temporaryName } from './output-names.ts';
import { stagingName, stagingNumber, takenName } from './staging-files.ts';

export interface OutputRecovery {
  /** Behind the last committed byte of the output file; 0 at the start of a job. */
  readonly outputEnd: number;
  /** Text that stands before the first row; null while it is not fixed. It lies within `outputEnd` once rows are committed. */
  readonly prologue: Uint8Array | null;
  /** Bytes that sealing puts behind `outputEnd`. */
  readonly epilogueBytes?: number;
  /** Segments that hold committed results; all others go. */
  readonly liveSegments: ReadonlySet<number>;
  /** Earlier outputs that rows are still to be copied from: absolute paths. */
  readonly bases?: readonly string[];
}

export interface OutputPlaces {
  readonly fileSystem: FileSystem;
  readonly outputDir: string;
  /** Null with output_action summary_only. */
  readonly outputFileName: string | null;
  /** Of the output, from 1. */
  readonly generation: number;
  readonly stagingDir: string;
  /**
   * Another process may have the files open still: the output and the rows that are taken from an earlier one, which go on at offsets
   * that it may write to, are replaced by copies. Segments need none: what is committed there is written, and each process stages in
   * new ones.
   */
  readonly isShared?: boolean;
}

/**
 * Returns the output file, ready to be written behind `outputEnd`; null when there is none, or when sealing has already
 * given it its final name.
 * @throws OUTPUT_CORRUPT when committed bytes are gone
 */
export async function recoverOutput(places: OutputPlaces, wanted: OutputRecovery): Promise<OpenFile | null> {
  await places.fileSystem.makeDir(places.stagingDir);
  await recoverStaging(places, wanted.liveSegments);
  const { fileSystem, outputDir, outputFileName, generation } = places;
  const taken = join(places.stagingDir, takenName);
  const takenBytes = places.isShared ? await sizeOf(fileSystem, taken) : null;
  if (takenBytes !== null) await forkFile(fileSystem, taken, takenBytes, temporaryName);
  for (const base of wanted.bases ?? []) await findBase(places, base);
  if (
    outputFileName === null ||
    (await isSealed(places, outputFileName, wanted.outputEnd + (wanted.epilogueBytes ?? 0)))
  )
    return null;
  const path = join(outputDir, partialName(outputFileName, generation));
  if (places.isShared && (await sizeOf(fileSystem, path)) !== null) {
    await forkFile(fileSystem, path, wanted.outputEnd, temporaryName);
  }
  const file = await fileSystem.open(path, 'create');
  try {
    await recoverFile(places, file, path, wanted);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

async function recoverStaging({ fileSystem, stagingDir }: OutputPlaces, live: ReadonlySet<number>): Promise<void> {
  const found = new Set<number>();
  for (const name of await fileSystem.list(stagingDir)) {
    const number = stagingNumber(name);
    if (number === null) continue;
    if (live.has(number)) found.add(number);
    else await fileSystem.remove(join(stagingDir, name));
  }
  for (const number of live) {
    if (found.has(number)) continue;
    throw new BatchError(
      'OUTPUT_CORRUPT',
      `${join(stagingDir, stagingName(number))} holds committed results and is gone; restore it, or run the job again`,
    );
  }
}

async function findBase({ fileSystem }: OutputPlaces, path: string): Promise<void> {
  if ((await sizeOf(fileSystem, path)) !== null) return;
  throw new BatchError('OUTPUT_CORRUPT', `${path} holds committed rows and is gone; restore it, or run the job again`);
}

async function isSealed(
  { fileSystem, outputDir, generation }: OutputPlaces,
  outputFileName: string,
  sealedBytes: number,
): Promise<boolean> {
  const partial = await sizeOf(fileSystem, join(outputDir, partialName(outputFileName, generation)));
  return partial === null && (await sizeOf(fileSystem, join(outputDir, outputFileName))) === sealedBytes;
}

async function recoverFile(places: OutputPlaces, file: OpenFile, path: string, wanted: OutputRecovery): Promise<void> {
  const prologueBytes = wanted.prologue?.length ?? 0;
  const sizeBytes = await file.sizeBytes();
  // The prologue alone may be missing: it is written anew.
  if (sizeBytes < wanted.outputEnd && wanted.outputEnd > prologueBytes) {
    throw new BatchError(
      'OUTPUT_CORRUPT',
      `${path} has ${sizeBytes} bytes, ${wanted.outputEnd} were ` +
        'committed; it was changed or removed from outside. Restore it, or run the job again',
    );
  }
  if (sizeBytes > wanted.outputEnd) await file.truncate(wanted.outputEnd);
  if (wanted.prologue && prologueBytes > 0) await file.write([wanted.prologue], 0);
  await file.datasync();
  await places.fileSystem.syncDir(places.outputDir);
}

/** Null for a file that is not there. */
export async function sizeOf(fileSystem: FileSystem, path: string): Promise<number | null> {
  return await ifThere(fileSystem, path, (file) => file.sizeBytes());
}
