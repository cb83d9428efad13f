// `npm test`: makes whatever the tests need (packages, build, Python environment), runs them all, and ends with the line
// `N passed, N failed`. Arguments go to vitest: `npm test -- --project fast`, `npm test -- test/unit/frame-vectors.test.ts`.
// What is made already is not made again.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preparePackages } from './packages.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const pythonOldest = [3, 9];

/** Ends the run: what is missing, and what to do. */
function refuse(message) {
  console.error(`npm test: ${message}`);
  process.exit(1);
}

/** Runs a program with its output shown; its failure ends the run. */
function run(command, args, advice) {
  const done = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (done.status !== 0) refuse(`${[command, ...args].join(' ')} failed. ${done.error?.message ?? ''} ${advice}`);
}

/** Version of the `python3` on PATH as text; the run ends when there is none, or when it is too old. */
function pythonVersion() {
  const asked = spawnSync('python3', ['-c', 'import sys; print(*sys.version_info[:3], sep=".")'], { encoding: 'utf8' });
  const version = asked.stdout?.trim() ?? '';
  const [major, minor] = version.split('.').map(Number);
  if (asked.status === 0 && major === pythonOldest[0] && minor >= pythonOldest[1]) return version;
  const found = asked.status === 0 ? `python3 is ${version}` : 'there is no python3 on PATH';
  return refuse(`the tests need Python ${pythonOldest.join('.')} or later: ${found}. Install it (Debian: python3).`);
}

/** `.venv` with test/requirements.txt; made anew when those or the interpreter have changed. */
function preparePython() {
  const requirements = join(root, 'test', 'requirements.txt');
  const stamp = join(root, '.venv', 'requirements.sha256');
  const wanted = createHash('sha256').update(pythonVersion()).update(readFileSync(requirements)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  if (spawnSync('python3', ['-c', 'import ensurepip, venv']).status !== 0) {
    refuse('python3 cannot make virtual environments. Install its venv module (Debian: python3-venv).');
  }
  console.log('making .venv for the Python scoring host …');
  run('python3', ['-m', 'venv', '--clear', '.venv'], '');
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--only-binary=:all:',
    '-r',
    requirements,
  ];
  run(join(root, '.venv', 'bin', 'python'), pip, 'The Python package index must be reachable for the first run.');
  writeFileSync(stamp, wanted);
}

/** Counts of vitest's JSON report; a file that could not even be loaded is a failure of its own. */
function countsOf(report) {
  if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 };
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  const broken = testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  const failed = numFailedTests + broken.length;
  return { passed: numPassedTests, failed, skipped: numPendingTests + numTodoTests };
}

function test(args) {
  const scratch = mkdtempSync(join(tmpdir(), 'batchmill-test-'));
  const report = join(scratch, 'report.json');
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const child = spawn(process.execPath, [vitest, 'run', ...reporters, ...args], { cwd: root, stdio: 'inherit' });
  // Ctrl-C reaches the child as well, which ends in its own time and is then counted.
  process.on('SIGINT', () => undefined);
  child.on('close', (code) => {
    const { passed, failed, skipped } = countsOf(report);
    rmSync(scratch, { recursive: true });
    console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
    process.exitCode = code ?? 1;
  });
}

try {
  preparePackages(root, (text) => console.log(text));
} catch (error) {
  refuse(error.message);
}
run(process.execPath, [join(root, 'scripts', 'build.mjs')], 'The errors above are the compiler’s.');
preparePython();
test(process.argv.slice(2));
