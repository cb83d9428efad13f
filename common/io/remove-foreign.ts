/** Removes what other programs have made and may still be at: a folder that its maker has closed, one that fills again. */
import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { delay } from './delay.ts';
import { errnoOf } from './errno.ts';

/** Whoever still writes there is about to end; who is not after these is not waited for. */
const triesMax = 5;
const pauseMs = 50;

const isClosed = (code: string): boolean => code === 'EACCES' || code === 'EPERM';
const mayPass = (code: string): boolean => code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'EBUSY';

/**
 * A file, a link (not followed), or a folder with all that is in it; nothing there is well.
 * @throws the system's error for what remains: EACCES, EPERM, ENOTEMPTY, …
 */
export async function removeForeign(path: string): Promise<void> {
  let isOpened = false;
  for (let tried = 1; ; tried += 1) {
    try {
      return await rm(path, { recursive: true, force: true });
    } catch (error) {
      const code = errnoOf(error);
      if (isClosed(code) && !isOpened) {
        isOpened = true;
        await openFolders(path);
      } else if (mayPass(code) && tried < triesMax) await delay(pauseMs * tried, new AbortController().signal);
      else throw error;
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
