/** A state directory that no coordinator uses meanwhile, for the commands that look at its journal. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, outsideError, reasonOf } from '../../common/io/errno.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { JournalPlace } from './inspect.ts';
import { StateLock } from './state-lock.ts';

/** Holds the lock of `stateDir` while `work` runs. @throws STATE_LOCKED, USAGE (it holds no journal), STATE_UNWRITABLE */
export async function withJournal<T>(stateDir: string, work: (place: JournalPlace) => Promise<T>): Promise<T> {
  const dir = join(stateDir, 'journal');
  await checkJournal(stateDir, dir);
  const lock = await acquire(stateDir);
  try {
    return await work({ fileSystem: nodeFileSystem, dir });
  } finally {
    await lock.close();
  }
}

async function acquire(stateDir: string): Promise<StateLock> {
  try {
    return await StateLock.acquire(stateDir, nodeFileSystem);
  } catch (error) {
    throw outsideError(error, `the state directory ${stateDir} cannot be locked`) ?? error;
  }
}

async function checkJournal(stateDir: string, dir: string): Promise<void> {
  try {
    await stat(dir);
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    throw new BatchError(
      'USAGE',
      `${stateDir} is not the state directory of a coordinator, its folder journal: ${reasonOf(error)}`,
      { cause: error },
    );
  }
}
