// `npm test`: makes whatever the tests need (packages, build, Python environment), runs them all but those with real
// frameworks, and ends with the line `N passed, N failed`. Arguments go to vitest: `npm test -- --project fast`,
// `npm test -- test/unit/frame-vectors.test.ts`.
// `npm run test:slurm` (`--slurm`) runs those with a real Slurm, which are skipped, and say so, where there is none.
// `npm run test:frameworks` (`--frameworks`) makes the environments of those and runs them alone; `--all` (.ci/run) runs
// first the one, then the other, and ends with one line for both. What is made already is not made again.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preparePackages } from './packages.mjs';
import { prepareEnvironment, prepareFrameworks, versionOf } from './python-environments.mjs';
import { prepareServers } from './test-servers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const pythonOldest = [3, 9];
const note = (text) => console.log(text);

/** Ends the run: what is missing, and what to do. */
function refuse(message) {
  console.error(`npm test: ${message}`);
  process.exit(1);
}

/** The run ends when there is no `python3` on PATH, or when it is too old. */
function checkPython() {
  const version = versionOf('python3');
  const [major, minor] = version ?? [];
  if (major === pythonOldest[0] && minor >= pythonOldest[1]) return;
  const found = version ? `python3 is ${version.join('.')}` : 'there is no python3 on PATH';
  refuse(`the tests need Python ${pythonOldest.join('.')} or later: ${found}. Install it (Debian: python3).`);
}

/** What every tier needs. */
async function prepare() {
  preparePackages(root, note);
  const build = spawnSync(process.execPath, [join(root, 'scripts', 'build.mjs')], { cwd: root, stdio: 'inherit' });
  if (build.status !== 0) refuse('the build failed; the errors above are the compiler’s.');
  checkPython();
  await prepareEnvironment({ root, name: '.venv', requirements: 'requirements.txt', python: 'python3', note });
  // The generator of clients needs Python 3.11; without it, its test says so and is left out.
  if (versionOf('python3')[1] >= 11)
    await prepareEnvironment({
      root,
      name: '.venv-clients',
      requirements: 'requirements-clients.txt',
      python: 'python3',
      note,
    });
  await prepareServers(root, note);
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

/** One run of vitest. @returns its counts, and its exit code */
function vitest(args) {
  const scratch = mkdtempSync(join(tmpdir(), 'batchmill-test-'));
  const report = join(scratch, 'report.json');
  const program = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const child = spawn(process.execPath, [program, 'run', ...reporters, ...args], { cwd: root, stdio: 'inherit' });
  return new Promise((resolve) => {
    child.on('close', (code) => {
      const counts = countsOf(report);
      rmSync(scratch, { recursive: true });
      resolve({ ...counts, code: code ?? 1 });
    });
  });
}

/** What vitest excludes by name it takes in again by the next exclusion. */
const ordinary = ['fast', 'sim', 'integration', 'e2e', 'alone'];

async function ordinaryTests(args) {
  const isChosen = args.some((arg) => arg.startsWith('--project'));
  return await vitest([...(isChosen ? [] : ordinary.map((name) => `--project=${name}`)), ...args]);
}

/** What cannot be prepared is one failure, with its reason in the output. */
async function frameworkTests(args, preparing) {
  try {
    await preparing;
  } catch (error) {
    console.error(`npm run test:frameworks: ${error.message}`);
    return { passed: 0, failed: 1, skipped: 0, code: 1 };
  }
  return await vitest(['--project=frameworks', ...args]);
}

async function main([mode, ...rest]) {
  try {
    await prepare();
  } catch (error) {
    refuse(error.message);
  }
  // Ctrl-C reaches vitest as well, which ends in its own time and is then counted.
  process.on('SIGINT', () => undefined);
  const runs = [];
  if (mode === '--all') {
    // Fetching packages is waiting for the most part, and goes on beside the tests.
    const preparing = prepareFrameworks(root, note);
    preparing.catch(() => undefined);
    runs.push(await ordinaryTests(rest), await frameworkTests(rest, preparing));
  } else if (mode === '--slurm') runs.push(await vitest(['--project=slurm', ...rest]));
  else if (mode === '--frameworks') runs.push(await frameworkTests(rest, prepareFrameworks(root, note)));
  else runs.push(await ordinaryTests(mode === undefined ? [] : [mode, ...rest]));
  const sum = (count) => runs.reduce((total, run) => total + run[count], 0);
  console.log(
    `${sum('passed')} passed, ${sum('failed')} failed${sum('skipped') > 0 ? `, ${sum('skipped')} skipped` : ''}`,
  );
  process.exitCode = runs.find(({ code }) => code !== 0)?.code ?? 0;
}

await main(process.argv.slice(2));
