// The packages of package-lock.json: there in their versions, or installed now. For the scripts that must run in a fresh clone,
// so this file imports nothing but Node.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const packagesOf = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;

/** True when every package of the lock file is there in its version; those of other platforms need not be. */
function arePackagesCurrent(root) {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const found = packagesOf(installed);
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(
    ([path, wanted]) => path === '' || wanted.optional === true || found[path]?.version === wanted.version,
  );
}

/** Throws with what is to be done when the packages cannot be installed. `note` is told before anything is fetched. */
export function preparePackages(root, note) {
  if (arePackagesCurrent(root)) return;
  const command = existsSync(join(root, 'node_modules')) ? 'install' : 'ci';
  note('installing the packages of package-lock.json into node_modules (about 500 MB on disk) …');
  const done = spawnSync('npm', [command, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (done.status === 0) return;
  const reason = done.error?.message ?? `it ended with ${done.status ?? done.signal}`;
  throw new Error(
    `npm ${command} failed: ${reason}. The first run fetches packages, so an npm registry must be reachable ` +
      '(npm config get registry says which); nothing else is fetched.',
  );
}
