/** A worker node that does not share the folder of the inputs. */
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';

/** Lets a program see `hidden` as an empty folder: a machine that does not share it. */
export function blindTo(hidden: string): readonly string[] {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return ['unshare', '--mount', ...asRoot, 'sh', '-c', 'mount -t tmpfs tmpfs "$0" && exec "$@"', hidden];
}

/** False where this machine does not allow it, which is said. */
export function canHide(): boolean {
  const [unshare = '', ...args] = blindTo(tmpdir());
  const isAllowed = spawnSync(unshare, [...args, 'true']).status === 0;
  if (!isAllowed)
    console.warn('SKIPPED: `unshare --mount` is not allowed here, so no node can be made blind to the inputs');
  return isAllowed;
}
