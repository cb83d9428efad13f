// Servers that tests of object stores start: Azurite from npm, in a folder of its own because it brings 295 packages that
// Batchmill has no use for, and moto from PyPI. Made once, and anew when what they are made from has changed.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { prepareEnvironment } from './python-environments.mjs';

function prepareAzurite(root, note) {
  const dir = join(root, 'test', 'servers');
  const stamp = join(dir, 'node_modules', '.lock.sha256');
  const wanted = createHash('sha256')
    .update(readFileSync(join(dir, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  note('installing Azurite for the tests of object stores into test/servers (190 MB on disk) …');
  const options = ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
  const done = spawnSync('npm', options, { cwd: dir, stdio: 'inherit' });
  if (done.status !== 0) {
    const reason = done.error?.message ?? `it ended with ${done.status ?? done.signal}`;
    throw new Error(`npm ci in test/servers failed: ${reason}. An npm registry must be reachable for the first run.`);
  }
  writeFileSync(stamp, wanted);
}

/** Throws with what is to be done when a server cannot be had. */
export async function prepareServers(root, note) {
  prepareAzurite(root, note);
  const requirements = 'requirements-stores.txt';
  await prepareEnvironment({ root, name: '.venv-stores', requirements, python: 'python3', note });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await prepareServers(fileURLToPath(new URL('..', import.meta.url)), (text) => console.log(text));
}
