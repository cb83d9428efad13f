/** The folder that a coordinator keeps its jobs in, and the small texts of its own there. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { BatchError } from '../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { makeFolder } from '../common/io/make-folder.ts';

/** What nobody guesses. */
export function randomText(): string {
  return randomBytes(24).toString('base64url');
}

/** @throws STATE_UNWRITABLE */
export async function makeStateDir(stateDir: string): Promise<void> {
  try {
    await makeFolder(stateDir, 0o700);
  } catch (error) {
    throw unusable(stateDir, error);
  }
}

/** Random, made at the first start; readable by its owner only. @throws STATE_UNWRITABLE */
export async function readOwnText(stateDir: string, path: string): Promise<string> {
  try {
    await writeFile(path, randomText(), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw unusable(stateDir, error);
  }
  return (await readFile(path, 'utf8')).trim();
}

function unusable(stateDir: string, error: unknown): unknown {
  if (errnoOf(error) === '') return error;
  const message = `the state directory ${stateDir} cannot be used: ${reasonOf(error)}`;
  return new BatchError('STATE_UNWRITABLE', message, { cause: error });
}
