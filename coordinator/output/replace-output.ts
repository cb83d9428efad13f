/**
 * The end of an output that replaces an earlier generation: what takes long is done before, `_SUCCESS` goes first and
 * comes last, and between the two stand only renames and the files of user code.
 */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { invariant } from '../../common/core/invariant.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { partialName } from './output-names.ts';
import { sizeOf } from './recover-output.ts';

export interface OutputPlace {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly outputFileName: string;
  readonly generation: number;
  /** Committed bytes; null when unknown. */
  readonly outputBytes: number | null;
  /** What stands behind them once the output is complete. */
  readonly epilogue: Uint8Array;
}

/**
 * Path of the file with all rows of this generation: under its partial name, or under its own when an earlier try has
 * come so far. @throws OUTPUT_CORRUPT when there is neither
 */
export async function completeFile(place: OutputPlace): Promise<string> {
  const { fileSystem, dir, outputFileName, generation, outputBytes, epilogue } = place;
  const partial = join(dir, partialName(outputFileName, generation));
  const final = join(dir, outputFileName);
  const path = (await sizeOf(fileSystem, partial)) === null ? final : partial;
  const bytes = await sizeOf(fileSystem, path);
  const behind = bytes === null || outputBytes === null ? 0 : bytes - outputBytes;
  // An earlier try may have written the epilogue, or a part of it.
  const isWhole = path === final ? behind === epilogue.length : behind >= 0 && behind <= epilogue.length;
  if (bytes === null || (outputBytes !== null && !isWhole)) {
    const found = bytes === null ? 'is gone' : `has ${bytes} bytes, ${outputBytes} were committed`;
    throw new BatchError('OUTPUT_CORRUPT', `${partial} ${found}; restore it, or run the job again`);
  }
  return path;
}

/** Puts the epilogue behind the rows, unless the file has its final name and so has it already. Gives the file's path. */
export async function endFile(place: OutputPlace): Promise<string> {
  const { fileSystem, dir, outputFileName, outputBytes, epilogue } = place;
  const path = await completeFile(place);
  if (epilogue.length === 0 || path === join(dir, outputFileName)) return path;
  invariant(outputBytes !== null, 'an epilogue stands behind bytes that were counted');
  const file = await fileSystem.open(path, 'update');
  try {
    await file.write([epilogue], outputBytes);
    await file.datasync();
  } finally {
    await file.close();
  }
  return path;
}

/** An earlier try that sealed the job as Completed may have given the file its own name before the job came to another end. */
export async function takeNameBack(place: OutputPlace): Promise<void> {
  const { fileSystem, dir, outputFileName, generation, outputBytes, epilogue } = place;
  const [partial, final] = [join(dir, partialName(outputFileName, generation)), join(dir, outputFileName)];
  if (outputBytes === null || (await sizeOf(fileSystem, partial)) !== null) return;
  // Another size is that of the output before.
  if ((await sizeOf(fileSystem, final)) !== outputBytes + epilogue.length) return;
  await fileSystem.rename(final, partial);
  await fileSystem.syncDir(dir);
}

/** Takes off what was written and never committed, so that the file holds what the manifest says. */
export async function cutToCommitted(place: OutputPlace): Promise<void> {
  const { fileSystem, dir, outputFileName, generation, outputBytes } = place;
  const path = join(dir, partialName(outputFileName, generation));
  const bytes = await sizeOf(fileSystem, path);
  if (bytes === null || outputBytes === null || bytes <= outputBytes) return;
  const file = await fileSystem.open(path, 'update');
  try {
    await file.truncate(outputBytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Unfinished outputs of the generations before, all rows of which are in this one. */
export async function removeEarlier({ fileSystem, dir, outputFileName, generation }: OutputPlace): Promise<void> {
  for (let earlier = 1; earlier < generation; earlier += 1) {
    await fileSystem.remove(join(dir, partialName(outputFileName, earlier)));
  }
}
