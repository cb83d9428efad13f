// Servers that tests of object stores start: Azurite from npm, in a folder of its own because it brings 295 packages that
// Batchmill has no use for, and moto from PyPI; and what judges the files of deploy/. Made once, and anew when what they are made from has changed.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
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

/**
 * Prometheus' `promtool`, out of Debian's package: that is not installed, since it brings a service. Where it cannot be had, the
 * test that wants it says so.
 */
function preparePromtool(root, note) {
  const program = join(root, '.venv-deploy', 'bin', 'promtool');
  if (existsSync(program) || spawnSync('apt-get', ['--version']).error) return;
  note('fetching promtool into .venv-deploy (19 MB) …');
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-promtool-'));
  const fetched = () => spawnSync('apt-get', ['download', 'prometheus'], { cwd: dir, stdio: 'ignore' }).status === 0;
  const hasLists = () => process.getuid?.() === 0 && spawnSync('apt-get', ['update', '-qq']).status === 0;
  if (fetched() || (hasLists() && fetched())) {
    const [file] = readdirSync(dir);
    spawnSync('dpkg', ['-x', file, 'unpacked'], { cwd: dir });
    copyFileSync(join(dir, 'unpacked', 'usr', 'bin', 'promtool'), program);
  } else note('promtool cannot be had (apt-get download prometheus): alert rules stay untested');
  rmSync(dir, { recursive: true });
}

/** What judges the files of deploy/. */
async function prepareJudges(root, note) {
  const requirements = 'requirements-deploy.txt';
  await prepareEnvironment({ root, name: '.venv-deploy', requirements, python: 'python3', note });
  preparePromtool(root, note);
}

/** Throws with what is to be done when a server cannot be had. */
export async function prepareServers(root, note) {
  prepareAzurite(root, note);
  const requirements = 'requirements-stores.txt';
  await prepareEnvironment({ root, name: '.venv-stores', requirements, python: 'python3', note });
  await prepareJudges(root, note);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await prepareServers(fileURLToPath(new URL('..', import.meta.url)), (text) => console.log(text));
}
