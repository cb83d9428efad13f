/** Removes what other programs have made and may still be at: a folder that its maker has closed, one that fills again. */
import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { delay } from './delay.ts';
import { errnoOf } from './errno.ts';

/** Whoever still writes there is about to end; who is not after these is not waited for. */
const triesMax = 5;
const pauseMs = 50;

const mayPass: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'ENOTEMPTY', 'EEXIST', 'EBUSY']);

/**
 * A file, a link (not followed), or a folder with all that is in it; nothing there is well.
 * @throws the system's error for what remains: EACCES, EPERM, ENOTEMPTY, …
 */
export async function removeForeign(path: string): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await rm(path, { recursive: true, force: true });
    } catch (error) {
      if (tried === triesMax || !mayPass.has(errnoOf(error))) throw error;
      if (tried > 1) await delay(pauseMs * tried, new AbortController().signal);
      await openFolders(path);
    }
  }
}

/** So that their owner may list them and remove what is in them; those of others stay as they are. */
async function openFolders(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null);
  if (!found?.isDirectory()) return;
  await chmod(path, (found.mode & 0o7777) | 0o700).catch(() => undefined);
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await openFolders(join(path, entry.name));
}
