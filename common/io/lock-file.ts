/**
 * A lock that is a file which names its holder. It stays behind when the holder is killed; whoever comes next on the same
 * machine sees that the holder is dead and takes it over. What to do about a live holder is for the caller.
 */
import * as z from 'zod';
import type { FileSystem } from '../ports/file-system.ts';
import { errnoOf } from './errno.ts';
import { lifeOf, ownIdentity, type ProcessIdentity } from './process-identity.ts';
import { readText } from './if-there.ts';

const holderSchema = z.object({
  pid: z.number(),
  hostname: z.string(),
  bootId: z.string(),
  startTicks: z.string(),
  cluster: z.string().optional(),
});

/** More rounds than there can be rivals that start at the same moment and die again. */
const roundsMax = 10;

export interface LockIdentity {
  readonly self: ProcessIdentity;
  readonly lifeOf: (other: ProcessIdentity) => 'alive' | 'dead' | 'unknown';
}

export type LockTry =
  | { readonly kind: 'taken'; readonly release: () => Promise<void> }
  /** `holder` is null when the file is no lock of this program; `unknown`: of a machine into which we cannot look. */
  | { readonly kind: 'held'; readonly holder: ProcessIdentity | null; readonly life: 'alive' | 'unknown' }
  /** Several processes take and lose it at the same moment. */
  | { readonly kind: 'contended' };

/** Takes the lock at `path` when nobody, or only a dead process, holds it. Its folder must exist. */
export async function tryLock(
  path: string,
  fileSystem: FileSystem,
  identity: LockIdentity = { self: ownIdentity(), lifeOf },
): Promise<LockTry> {
  const { self } = identity;
  for (let round = 0; round < roundsMax; round += 1) {
    if (await place(path, fileSystem, self)) return { kind: 'taken', release: () => release(path, fileSystem, self) };
    const text = await readText(fileSystem, path);
    if (text === null) continue;
    const holder = parseHolder(text);
    const life = holder === null ? 'unknown' : identity.lifeOf(holder);
    if (life !== 'dead') return { kind: 'held', holder, life };
    await takeAway(path, fileSystem, self, text);
  }
  return { kind: 'contended' };
}

async function release(path: string, fileSystem: FileSystem, self: ProcessIdentity): Promise<void> {
  if ((await readText(fileSystem, path)) === textOf(self)) await fileSystem.remove(path);
}

function textOf(identity: ProcessIdentity): string {
  return `${JSON.stringify(identity)}\n`;
}

/** Tells two tries of one process apart. */
let tries = 0;

function nameOf(path: string, self: ProcessIdentity, what: string): string {
  tries += 1;
  return `${path}.${what}${self.pid}.${self.startTicks}.${tries}`;
}

/** Appears whole or not at all: written under a name of its own, then given the lock's name. */
async function place(path: string, fileSystem: FileSystem, self: ProcessIdentity): Promise<boolean> {
  const own = nameOf(path, self, '');
  try {
    const file = await fileSystem.open(own, 'replace');
    try {
      await file.write([Buffer.from(textOf(self))], 0);
      // A name may outlive a power cut without its bytes, and nobody could tell whose lock that was.
      await file.datasync();
    } finally {
      await file.close();
    }
    await fileSystem.link(own, path);
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    return false;
  } finally {
    await fileSystem.remove(own);
  }
}

/** Moves a dead holder's lock away; if it has been replaced by a live one in between, puts that one back. */
async function takeAway(path: string, fileSystem: FileSystem, self: ProcessIdentity, staleText: string): Promise<void> {
  const aside = nameOf(path, self, 'stale.');
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
