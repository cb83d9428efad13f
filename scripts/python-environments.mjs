// Virtual environments of the tests, each made from a file of requirements in `test/` and made anew when that file or the
// interpreter has changed; and the packages of Debian that the tests with real frameworks use beside them.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const systemPython = '/usr/bin/python3';
const debianPackages = ['python3-torch', 'python3-torchvision', 'python3-pandas', 'python3-pil'];
const debianModules = ['torch', 'torchvision', 'pandas', 'PIL'];

/** `[major, minor, patch]` of an interpreter; null when it is not there. */
export function versionOf(python) {
  const asked = spawnSync(python, ['-c', 'import sys; print(*sys.version_info[:3], sep=".")'], { encoding: 'utf8' });
  return asked.status === 0 ? asked.stdout.trim().split('.').map(Number) : null;
}

/** Runs a program with its output shown; rejects with `advice` when it fails. */
function run(command, args, options, advice) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit', ...options });
    child.once('error', (error) => reject(new Error(`${command} cannot be started: ${error.message}. ${advice}`)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${[command, ...args].join(' ')} ended with ${code ?? signal}. ${advice}`));
    });
  });
}

/** Makes `<root>/<name>` from `<root>/test/<requirements>`, unless it is there as it should be. */
export async function prepareEnvironment({ root, name, requirements, python, note }) {
  const path = join(root, 'test', requirements);
  const stamp = join(root, name, 'requirements.sha256');
  const version = versionOf(python)?.join('.') ?? '';
  const wanted = createHash('sha256').update(version).update(readFileSync(path)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  if (spawnSync(python, ['-c', 'import ensurepip, venv']).status !== 0) {
    throw new Error(`${python} cannot make virtual environments. Install its venv module (Debian: python3-venv).`);
  }
  note(`making ${name} from test/${requirements} …`);
  await run(python, ['-m', 'venv', '--clear', name], { cwd: root }, '');
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary=:all:', '-r', path];
  const advice = 'The Python package index must be reachable for the first run.';
  await run(join(root, name, 'bin', 'python'), pip, { cwd: root }, advice);
  writeFileSync(stamp, wanted);
}

const hasTorch = () => {
  const look = `import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, ${JSON.stringify(debianModules)})))`;
  return spawnSync(systemPython, ['-c', look]).status === 0;
};

/** PyTorch for the system's interpreter: Debian's is a tenth of the wheel of PyPI, which brings CUDA. */
async function prepareTorch(note) {
  if (hasTorch()) return;
  const command = `apt-get install -y --no-install-recommends ${debianPackages.join(' ')}`;
  const byHand = `${systemPython} needs ${debianModules.join(', ')}. On Debian, as root: apt-get update && ${command}`;
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) throw new Error(byHand);
  note(`installing ${debianPackages.join(', ')} …`);
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'inherit'],
  };
  await run('apt-get', ['update', '-qq'], options, byHand);
  await run('apt-get', command.split(' ').slice(1), options, byHand);
  if (!hasTorch()) throw new Error(`these packages are installed, and still: ${byHand}`);
}

/** The wheels of the frameworks are for these versions of Python alone. */
const isFrameworkVersion = ([major, minor]) => major === 3 && minor >= 9 && minor <= 11;

function frameworkPython() {
  const candidates = ['python3', 'python3.11', 'python3.10', 'python3.9', systemPython];
  const found = candidates.find((candidate) => isFrameworkVersion(versionOf(candidate) ?? []));
  if (found === undefined)
    throw new Error(`Python 3.9, 3.10 or 3.11 is needed; found none of ${candidates.join(', ')}.`);
  return found;
}

/** All that `test/frameworks` needs; what is there already is not made again. Rejects with what is to be done. */
export async function prepareFrameworks(root, note) {
  const python = frameworkPython();
  const environment = (name, requirements) => prepareEnvironment({ root, name, requirements, python, note });
  // Together they take little longer than the longest: each waits for the network for much of its time.
  const parts = await Promise.allSettled([
    prepareTorch(note),
    environment('.venv-frameworks', 'requirements-frameworks.txt'),
    environment('.venv-tensorflow', 'requirements-tensorflow.txt'),
  ]);
  const reasons = parts.filter(({ status }) => status === 'rejected').map(({ reason }) => reason.message);
  if (reasons.length > 0) throw new Error(reasons.join('\n'));
}
