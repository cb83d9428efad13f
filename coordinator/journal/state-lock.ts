/**
 * One coordinator for one state directory. The lock is a file that names its holder; it stays behind when the holder is killed,
 * and the next start on the same machine sees that the holder is dead and takes it over.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { lifeOf, ownIdentity, type ProcessIdentity } from '../../common/io/process-identity.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';

const holderSchema = z.object({ pid: z.number(), hostname: z.string(), bootId: z.string(), startTicks: z.string() });

const lockName = 'lock';
/** More rounds than there can be rivals that start at the same moment and die again. */
const roundsMax = 10;

export interface StateLockOptions {
  readonly dir: string;
  readonly fileSystem: FileSystem;
  readonly self: ProcessIdentity;
  readonly lifeOf: (other: ProcessIdentity) => 'alive' | 'dead' | 'unknown';
}

export class StateLock {
  readonly #options: StateLockOptions;

  private constructor(options: StateLockOptions) {
    this.#options = options;
  }

  /** @throws STATE_LOCKED when another coordinator holds it, or may hold it. */
  static async acquire(
    dir: string,
    fileSystem: FileSystem,
    identity: Pick<StateLockOptions, 'self' | 'lifeOf'> = { self: ownIdentity(), lifeOf },
  ): Promise<StateLock> {
    const options = { dir, fileSystem, ...identity };
    for (let round = 0; round < roundsMax; round += 1) {
      if (await place(options)) return new StateLock(options);
      const text = await readText(fileSystem, join(dir, lockName));
      if (text === null) continue;
      refuseUnlessStale(options, text);
      await takeAway(options, text);
    }
    throw new BatchError('STATE_LOCKED', `several coordinators start on ${dir} at once; start only one`);
  }

  async close(): Promise<void> {
    const { dir, fileSystem, self } = this.#options;
    const path = join(dir, lockName);
    if ((await readText(fileSystem, path)) === textOf(self)) await fileSystem.remove(path);
  }
}

function textOf(identity: ProcessIdentity): string {
  return `${JSON.stringify(identity)}\n`;
}

/** Appears whole or not at all: written under a name of its own, then given the lock's name. */
async function place({ dir, fileSystem, self }: StateLockOptions): Promise<boolean> {
  const own = join(dir, `${lockName}.${self.pid}.${self.startTicks}`);
  const file = await fileSystem.open(own, 'replace');
  try {
    await file.write([Buffer.from(textOf(self))], 0);
  } finally {
    await file.close();
  }
  try {
    await fileSystem.link(own, join(dir, lockName));
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    return false;
  } finally {
    await fileSystem.remove(own);
  }
}

function refuseUnlessStale({ dir, lifeOf: life }: StateLockOptions, text: string): void {
  const holder = parseHolder(text);
  const state = holder === null ? 'unknown' : life(holder);
  if (state === 'dead') return;
  const path = join(dir, lockName);
  throw new BatchError(
    'STATE_LOCKED',
    holder === null
      ? `${path} is not a lock of this program; remove it when no coordinator uses ${dir}`
      : state === 'alive'
        ? `${dir} is in use by the coordinator with process id ${holder.pid} on this machine; stop it, or choose another --state-dir`
        : `${dir} was locked by process ${holder.pid} on ${holder.hostname}, which cannot be seen from here; when it no longer runs, remove ${path}`,
  );
}

/** Moves a dead holder's lock away; if it has been replaced by a live one in between, puts that one back. */
async function takeAway({ dir, fileSystem, self }: StateLockOptions, staleText: string): Promise<void> {
  const path = join(dir, lockName);
  const aside = join(dir, `${lockName}.stale.${self.pid}.${self.startTicks}`);
  try {
    await fileSystem.rename(path, aside);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    if ((await readText(fileSystem, aside)) !== staleText) await fileSystem.link(aside, path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  } finally {
    await fileSystem.remove(aside);
  }
}

function parseHolder(text: string): ProcessIdentity | null {
  try {
    return holderSchema.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}

async function readText(fileSystem: FileSystem, path: string): Promise<string | null> {
  let file: OpenFile;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(await file.sizeBytes());
    return bytes.toString('utf8', 0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}
