/** Environments made by the real tools: Python's venv and pip, uv, and a micromamba that is a small script. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BatchError } from '../../common/core/batch-error.ts';
import { digest, monotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock, type Clock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { createLog } from '../../common/io/log.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import { Environments, type Prepared, type Waiter } from '../../worker/environments/environments.ts';
import { findTools } from '../../worker/environments/node-tools.ts';
import type { BuiltSpec, NodeTools } from '../../worker/environments/plan-environment.ts';
import { matching } from '../helpers/matching.ts';
import { testPython } from '../helpers/python.ts';

let dir: string;
let root: string;
let lines: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-environments-'));
  root = join(dir, 'environments');
  lines = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A conda file as the deployment's reader hands it on. */
function conda(dependencies: readonly unknown[], name = 'heart-env'): BuiltSpec {
  const yaml = JSON.stringify({ channels: ['conda-forge'], dependencies });
  return {
    kind: 'conda',
    conda: { name, yaml, digest: digest(`sha256:${createHash('sha256').update(yaml).digest('hex')}`) },
  };
}

const six = ['python=3.8.5', 'pip', { pip: ['azureml-core', 'six==1.16.0'] }];

/** PATH with this test's own programs in front, and no uv or conda that the machine may have. */
function path(): string {
  return `${join(dir, 'bin')}:/usr/bin:/bin`;
}

/** A program of this test on PATH. */
function program(name: string, script: string): void {
  mkdirSync(join(dir, 'bin'), { recursive: true });
  const file = join(dir, 'bin', name);
  writeFileSync(file, script);
  chmodSync(file, 0o755);
}

function siteVariables(): Record<string, string | undefined> {
  // The site's own package index, if it has one.
  const names = Object.keys(process.env).filter((name) => /^(PIP|UV)_|_PROXY$|^SSL_/i.test(name));
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

function environments(options: { tools?: Partial<NodeTools>; clock?: Clock } = {}): Environments {
  const environment = { ...siteVariables(), PATH: path(), HOME: join(dir, 'home') };
  return new Environments({
    root,
    environment,
    findTools: async () => ({
      ...(await findTools({ environment, conda: null, python: testPython() })),
      ...options.tools,
    }),
    clock: options.clock ?? systemClock,
    delay,
    log: createLog({ write: (line) => lines.push(line), format: 'text', level: 'info', clock: systemClock }),
  });
}

function waiter(told: string[] = [], signal: AbortSignal = new AbortController().signal): Waiter {
  return { signal, onProgress: (text) => told.push(text) };
}

function pythonOf({ runner }: Prepared): string {
  if (runner.kind === 'apptainer') throw new Error('no interpreter of this machine');
  return runner.python;
}

function ask({ runner }: Prepared, code: string): string {
  return execFileSync(pythonOf({ runner, warnings: [] }), ['-c', code], { encoding: 'utf8' }).trim();
}

async function refusal(promise: Promise<unknown>): Promise<BatchError> {
  return promise.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as BatchError,
  );
}

/** Each makes several environments, which takes the time of a busy machine. */
const patient = { timeout: 240_000 };

/** Makes them ten times faster than pip. */
function testUv(): string {
  const uv = join(dirname(testPython()), 'uv');
  if (existsSync(uv)) return uv;
  throw new Error(`${uv} is not there: \`npm test\` installs it from test/requirements.txt`);
}

describe('an environment of pip packages', patient, () => {
  it('is made once, told of while it is made, and there for later nodes', async () => {
    const told: string[] = [];
    const first = environments();
    const [made, shared] = await Promise.all([
      first.prepare(conda(six), waiter(told)),
      first.prepare(conda(six), waiter()),
    ]);
    expect(shared).toEqual(made);
    expect(first.builds).toBe(1);
    expect(ask(made, 'import six; print(six.__version__)')).toBe('1.16.0');
    expect(told[0]).toMatch(/^environment heart-env: making \(venv\) \d+ s$/);
    expect(told.some((text) => /^environment heart-env: installing \(pip\) \d+ s/.test(text))).toBe(true);
    expect(told.at(-1)).toBe('');
    expect(lines.join('')).toContain('azureml-core left out');
    const version = execFileSync(pythonOf(made), ['-c', 'import platform; print(platform.python_version())'], {
      encoding: 'utf8',
    }).trim();
    if (version !== '3.8.5') {
      expect(made.warnings).toEqual([matching(new RegExp(`asks for Python 3\\.8\\.5; this node has ${version}`))]);
    }
    const later = environments();
    const quiet: string[] = [];
    expect(await later.prepare(conda(six), waiter(quiet))).toEqual(made);
    expect(later.builds).toBe(0);
    expect(quiet).toEqual([]);
  });

  it('is made once by two nodes that begin at the same time', async () => {
    const nodes = [environments(), environments()];
    const [a, b] = await Promise.all(nodes.map((node) => node.prepare(conda(six), waiter())));
    expect(a).toEqual(b);
    expect(nodes.map((node) => node.builds).sort()).toEqual([0, 1]);
    expect(readdirSync(root).filter((name) => name.includes('.lock'))).toEqual([]);
  });

  it('that cannot be resolved fails with pip’s words, at once for those who ask again, and can be tried later', async () => {
    let nowMs = 0;
    const clock: Clock = { monotonic: () => monotonicMs(nowMs), wall: () => systemClock.wall() };
    const node = environments({ clock });
    const spec = conda(['python', 'pip', { pip: ['six==1.16.0', 'six==1.15.0'] }]);
    const error = await refusal(node.prepare(spec, waiter()));
    expect(error).toMatchObject({
      code: 'ENVIRONMENT_BUILD_FAILED',
      message: matching(/^environment heart-env cannot be built \(pip\): .*six==1\.1[56]\.0.*; the whole log is \//),
      detail: matching(/six==1\.1[56]\.0/),
    });
    const log = /whole log is (\S+)/.exec(error.message)?.[1] ?? '';
    expect(readFileSync(log, 'utf8')).toContain('-m pip install');
    expect(readdirSync(root)).toEqual([log.slice(root.length + 1)]);
    expect(await refusal(node.prepare(spec, waiter()))).toBe(error);
    expect(node.builds).toBe(1);
    nowMs += limits.environmentFailureKeptMs;
    await refusal(node.prepare(spec, waiter()));
    expect(node.builds).toBe(2);
  });

  it('ends when nobody waits for it any more, with its installer', async () => {
    const stopping = new AbortController();
    const started = join(dir, 'started');
    program('slow', `#!/bin/sh\necho $$ > ${started}.part; mv ${started}.part ${started}\nexec sleep 600\n`);
    const node = environments({ tools: { conda: { kind: 'micromamba', path: join(dir, 'bin', 'slow') } } });
    const made = refusal(node.prepare(conda(six), waiter([], stopping.signal)));
    await until(() => existsSync(started));
    stopping.abort(new Error('the job was canceled'));
    expect((await made).message).toBe('the job was canceled');
    expect(isAlive(Number(readFileSync(started, 'utf8')))).toBe(false);
    expect(readdirSync(root).filter((name) => !name.endsWith('.log'))).toEqual([]);
  });

  it('that a killed node left half-built is replaced', async () => {
    const spec = conda(six);
    const started = join(dir, 'started');
    program('slow', `#!/bin/sh\nmkdir -p "$4" && echo half > "$4/half"; echo $$ > ${started}\nexec sleep 600\n`);
    const script = `
      import { Environments } from ${JSON.stringify(compiledFile('worker', 'environments', 'environments.js'))};
      import { systemClock } from ${JSON.stringify(compiledFile('common', 'io', 'clock.js'))};
      import { delay } from ${JSON.stringify(compiledFile('common', 'io', 'delay.js'))};
      import { silentLog } from ${JSON.stringify(compiledFile('common', 'io', 'log.js'))};
      const conda = { kind: 'micromamba', path: ${JSON.stringify(join(dir, 'bin', 'slow'))} };
      const tools = { conda, uv: null, interpreters: [], apptainer: null, docker: null };
      const options = { root: ${JSON.stringify(root)}, environment: { PATH: '/usr/bin:/bin' }, clock: systemClock, delay };
      const node = new Environments({ ...options, log: silentLog, findTools: () => Promise.resolve(tools) });
      await node.prepare(${JSON.stringify(spec)}, { signal: new AbortController().signal, onProgress: () => {} });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
    await until(() => existsSync(started) && readFileSync(started, 'utf8') !== '');
    const installer = Number(readFileSync(started, 'utf8'));
    try {
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      expect(halves()).toHaveLength(1);
      const made = await environments().prepare(spec, waiter());
      expect(ask(made, 'import six; print(six.__version__)')).toBe('1.16.0');
      expect(halves()).toEqual([]);
    } finally {
      if (isAlive(installer)) process.kill(installer, 'SIGKILL');
    }
  });

  it('whose interpreter is gone is made anew', async () => {
    const made = await environments({ tools: { uv: testUv() } }).prepare(conda(six), waiter());
    rmSync(join(dirname(pythonOf(made)), 'python'));
    const node = environments({ tools: { uv: testUv() } });
    expect(ask(await node.prepare(conda(six), waiter()), 'import six; print(six.__version__)')).toBe('1.16.0');
    expect(node.builds).toBe(1);
  });

  it('leaves when no job has used it for long', async () => {
    const node = environments({ tools: { uv: testUv() } });
    const made = await node.prepare(conda(six), waiter());
    await node.sweep();
    expect(existsSync(pythonOf(made))).toBe(true);
    const key = readdirSync(root).find((name) => /^[0-9a-f]+$/.test(name)) ?? '';
    const then = (systemClock.wall() - limits.artifactUnusedMsMax) / 1_000 - 60;
    utimesSync(join(root, key, 'ready.json'), then, then);
    await node.sweep();
    expect(readdirSync(root)).toEqual([]);
  });
});

describe('uv', patient, () => {
  it('makes the environment where the node has it', async () => {
    const node = environments({ tools: { uv: testUv() } });
    const made = await node.prepare(conda(six), waiter());
    expect(ask(made, 'import six; print(six.__version__)')).toBe('1.16.0');
    expect(lines.join('')).toContain('tool=uv');
    const error = await refusal(node.prepare(conda(['python', { pip: ['six==1.16.0', 'six==1.15.0'] }]), waiter()));
    expect(error).toMatchObject({
      code: 'ENVIRONMENT_BUILD_FAILED',
      message: matching(/\(uv\): No solution found .*six==1\.1[56]\.0/),
    });
  });
});

describe('a conda tool', patient, () => {
  it('is called with the file, and what it makes is used', async () => {
    const calls = join(dir, 'calls');
    const real = testPython();
    program('micromamba', `#!/bin/sh\necho "$@" >> ${calls}\ncat "$6" >> ${calls}\nexec ${real} -m venv "$4"\n`);
    const made = await environments().prepare(conda(['python=3.8.5', 'numpy=1.21', 'azureml-defaults']), waiter());
    const [call = '', ...listing] = readFileSync(calls, 'utf8').trim().split('\n');
    expect(call).toMatch(/^create --yes --prefix (\S+) --file \1\.yml$/);
    expect(listing).toEqual(['channels:', '  - conda-forge', 'dependencies:', '  - python=3.8.5', '  - numpy=1.21']);
    expect(made.runner).toMatchObject({ kind: 'conda' });
    expect(ask(made, 'print(1)')).toBe('1');
  });

  it('that fails says why', async () => {
    program(
      'conda',
      '#!/bin/sh\necho "Solving environment: failed"\necho "ResolvePackageNotFound: numpi=1" >&2\nexit 1\n',
    );
    const error = await refusal(environments().prepare(conda(['numpi=1']), waiter()));
    expect(error).toMatchObject({
      code: 'ENVIRONMENT_BUILD_FAILED',
      message: matching(/\(conda\): ResolvePackageNotFound: numpi=1; the whole log/),
      detail: matching(/Solving environment: failed/),
    });
  });

  it('is looked for under the name that the operator gave', async () => {
    program('my-mamba', '#!/bin/sh\nexit 0\n');
    program('micromamba', '#!/bin/sh\nexit 0\n');
    const named = join(dir, 'bin', 'my-mamba');
    const environment = { PATH: path() };
    expect((await findTools({ environment, conda: named, python: null })).conda?.path).toBe(named);
    expect((await findTools({ environment, conda: null, python: null })).conda).toEqual({
      kind: 'micromamba',
      path: join(dir, 'bin', 'micromamba'),
    });
  });
});

function halves(): readonly string[] {
  return (readdirSync(root, { recursive: true }) as string[]).filter((name) => name.endsWith('/half'));
}

/** False also for one that waits to be collected. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function until(is: () => boolean): Promise<void> {
  const endAt = performance.now() + 30_000;
  while (!is()) {
    if (performance.now() > endAt) throw new Error('waited 30 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
