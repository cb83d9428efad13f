/**
 * Deployment folders of test/frameworks: put together in a test's own folder as a user has them on his disk (YAML, code,
 * `model/` beside them), then run through the compiled program and, for comparison, through a plain Python loop.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { packageFile } from '../../common/io/package-files.ts';
import { endPrograms, runProgram, type ProgramEnd } from './programs.ts';

/** Path below `../shared/data`, which is read in place; throws when it is not there. */
export function sharedData(...parts: readonly string[]): string {
  const path = packageFile('..', 'shared', 'data', ...parts);
  if (!existsSync(path))
    throw new Error(`${path} does not exist: these tests need the models and inputs of ../shared/data`);
  return path;
}

/** Debian's own interpreter with its torch packages, and the two virtual environments that the tier makes. */
const interpreters = {
  torch: '/usr/bin/python3',
  tensorflow: packageFile('.venv-tensorflow', 'bin', 'python'),
  mlflow: packageFile('.venv-frameworks', 'bin', 'python'),
} as const;

/** Interpreter that has these libraries; throws when the tier has not been prepared. */
export function frameworkPython(name: keyof typeof interpreters): string {
  const path = interpreters[name];
  if (!existsSync(path))
    throw new Error(`${path} does not exist: \`npm run test:frameworks\` makes what these tests need`);
  return path;
}

let scratchPath = '';

/** A test's own folder in the system's temporary one: made in `beforeEach`; removed, with what still runs there, in `afterEach`. */
export const scratch = {
  make(): string {
    scratchPath = mkdtempSync(join(tmpdir(), 'batchmill-frameworks-'));
    return scratchPath;
  },
  async remove(): Promise<void> {
    await endPrograms();
    rmSync(scratchPath, { recursive: true, force: true });
  },
} as const;

/**
 * Copies a folder of test/frameworks/fixtures to `<dir>/<name>`, with the given files or folders in its `model/`.
 * @returns the new folder
 */
export function assembleFolder(dir: string, name: string, model: readonly string[] = []): string {
  const folder = join(dir, name);
  cpSync(packageFile('test', 'frameworks', 'fixtures', name), folder, { recursive: true });
  if (model.length > 0) mkdirSync(join(folder, 'model'), { recursive: true });
  for (const path of model) cpSync(path, join(folder, 'model', basename(path)), { recursive: true });
  return folder;
}

export interface FolderRun {
  readonly deployment: string;
  readonly input: string;
  readonly output: string;
  /** Interpreter; null leaves the choice to the deployment. */
  readonly python: string | null;
  /** Further words of the command line. */
  readonly more?: readonly string[];
  /** Where the command is typed; the output's own folder unless given. */
  readonly cwd?: string;
}

/** `batchmill run` to its end, whatever its exit code. */
export async function runFolder(run: FolderRun): Promise<ProgramEnd> {
  const { deployment, input, output, python, more = [] } = run;
  const cwd = run.cwd ?? join(output, '..');
  const interpreter = python === null ? [] : ['--environment', python];
  return await runProgram(
    ['run', deployment, '--input', input, '--output', output, '--slots', '2', ...interpreter, ...more],
    { cwd },
    200_000,
  );
}

/** As `runFolder`; a run that does not complete fails with what it said. */
export async function completeFolder(run: FolderRun): Promise<ProgramEnd> {
  const end = await runFolder(run);
  if (end.code !== 0) throw new Error(`the run ended with ${end.code ?? end.signal}\n${end.stdout}\n${end.stderr}`);
  return end;
}

export interface PlainLoop {
  readonly python: string;
  readonly script: string;
  /** What AZUREML_MODEL_DIR names; the folder that holds `model/`. */
  readonly modelDir: string;
  readonly input: string;
  readonly miniBatchFiles: number;
  readonly environment?: Readonly<Record<string, string>>;
}

/** What the same script gives, called over the same mini-batches by a loop that knows nothing of Batchmill. */
export async function plainLoop(loop: PlainLoop): Promise<string> {
  const files = inputFiles(loop.input);
  const { stdout } = await promisify(execFile)(
    loop.python,
    [packageFile('test', 'frameworks', 'plain_loop.py'), loop.script, String(loop.miniBatchFiles), ...files],
    // Libraries that keep something where they are run (mlflow) keep it with the test.
    {
      env: { ...process.env, ...loop.environment, AZUREML_MODEL_DIR: loop.modelDir },
      maxBuffer: 64 * 1024 * 1024,
      cwd: loop.modelDir,
    },
  );
  return stdout;
}

/** Of a flat folder, in input order: by the bytes of their names. */
export function inputFiles(dir: string): readonly string[] {
  return readdirSync(dir)
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => join(dir, name));
}
