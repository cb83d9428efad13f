import { hostname } from 'node:os';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CoordinatorProcess, EmbeddedOptions, WorkerProcess } from '../../cli/processes.ts';
import { runCli } from '../../cli/run-cli.ts';
import { limits } from '../../common/core/limits.ts';
import type { CoordinatorSettings, WorkerSettings } from '../../common/config/process-settings.ts';
import { readContexts } from '../../common/config/contexts.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { deferred } from '../../common/io/deferred.ts';
import { packageFile } from '../../common/io/package-files.ts';
import type { JobState } from '../../common/core/states.ts';
import { cli, testHost } from '../helpers/cli-host.ts';
import { jobView } from '../helpers/fake-backend.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-cli-'));
  await writeFile(join(dir, 'digits.onnx'), '');
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

describe('words', () => {
  test('help goes to stdout and is no error', async () => {
    for (const args of [['--help'], ['help'], ['job', '--help'], ['run', '-h'], ['job', 'submit', '--help']]) {
      const { code, stdout, stderr } = await cli(args);
      expect([args, code, stderr]).toEqual([args, 0, '']);
      expect(stdout).toMatch(/^Usage: batchmill /);
    }
    expect(await cli(['--version'])).toEqual({ code: 0, stdout: '1.2.3\n', stderr: '' });
  });

  test.each([
    [
      ['run', 'digits.onnx', '--input', 'azureml:heart@old', '--output', 'o'],
      'the location azureml:heart@old is a registered data asset (heart, old): latest is the only label there is',
    ],
    [['run', 'digits.onnx', '--input', 's3a://b/c', '--output', 'o'], 'did you mean s3://?'],
    [['job', 'submit', 'x', '--input', 'azureml:heart', '--output', 'o'], 'is not a reference: wanted azureml:NAME'],
  ])('%j names no input', async (args, reason) => {
    const { code, stdout, stderr } = await cli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('error LOCATION_INVALID: ');
    expect(stderr).toContain(reason);
  });

  test.each([
    [[], 'wanted a command, found none'],
    [['job'], 'wanted a command, found none'],
    [['jobs'], "unknown command 'jobs'"],
    [['run'], "required option '--input <path>' not specified"],
    [['run', 'x.yml', '--output', 'o'], "required option '--input <path>' not specified"],
    [['run', 'x.yml', '--output', 'o', '--input', 'i', '--input-list-column', 'c'], 'give that too'],
    [['run', 'x.yml', '--output', '', '--input', 'i'], '--output is empty: give a place, "." for the current folder'],
    [['run', 'x.yml', '--output', 'o', '--input='], '--input is empty'],
    [['run', 'x.yml', '--output', 'o', '--input', '', '--input-list', 'l.txt'], '--input is empty'],
    [['run', 'x.yml', '--output', 'o', '--input-list', ''], '--input-list is empty'],
    [['job', 'submit', 'x.yml', '--output', ' ', '--input', 'i'], '--output is empty'],
    [['plan', 'x.yml', '--input', ''], '--input is empty'],
    [['job', 'download', 'j', '--output', ''], '--output is empty'],
    [['job', 'verify', 'j', '--input', ''], '--input is empty'],
    [['endpoint', 'invoke', '-n', 'e', '--input', ''], '--input is empty'],
    [['endpoint', 'invoke', '-n', 'e', '--input', 'i', '--output-path', ''], '--output-path is empty'],
    [['schedule', 'create', 's', '--cron', '@daily', '--endpoint', 'e', '--input', ''], '--input is empty'],
    [['run', 'x.yml', '--input', 'i', '--output', 'o', '--fast'], "unknown option '--fast'"],
    [['job', 'list', '--json'], "unknown option '--json'; the form of the answer is chosen with -o, such as -o json"],
    [['job', 'show'], "missing required argument 'name'"],
    [['job', 'list', '-o', 'xml'], 'Allowed choices are table, json, jsonc, yaml, yamlc, tsv, none'],
    [['job', 'list', '--server', 'nowhere'], '--server: wanted HOST:PORT'],
    [['job', 'submit', 'x', '--input', 'i', '--output', 'o', '--wait', '--stream'], 'cannot be used with'],
    [['coordinator', 'start', '--listen', '7077'], '--listen: wanted HOST:PORT'],
    [['coordinator', 'start', '--heartbeat-interval', 'often'], '--heartbeat-interval: wanted a time'],
    [['worker', 'join', 'host'], 'HOST:PORT: wanted HOST:PORT'],
    [['worker', 'join', 'host:7077', '--slots', '0'], '--slots: wanted a whole number'],
    [['worker', 'join', 'host:7077', '--label', 'gpu'], '--label: wanted labels such as gpu=a100'],
    [['worker', 'join', 'host:7077', '--label', 'a=1', '--label', 'a=2'], 'each key once'],
    [['worker', 'join', 'host:7077', '--name', 'a/b'], '--name: wanted letters'],
  ])('%j is wrong usage', async (args, reason) => {
    const { code, stdout, stderr } = await cli(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('error USAGE: ');
    expect(stderr).toContain(reason);
  });

  test('what nobody foresaw is INTERNAL with its stack, never a bare crash', async () => {
    const { code, stderr } = await cli(['coordinator', 'start']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/error INTERNAL: no coordinator in this test\n(.*\n)+ {4}.*at /);
  });
});

describe('validate', () => {
  test('answers with the deployment', async () => {
    const { code, stdout, stderr } = await cli(['validate', 'digits.onnx', '--mini-batch-size', '4'], { cwd: dir });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      name: 'digits',
      settings: { miniBatchSize: { kind: 'files', files: 4 } },
    });
    expect(stderr).toBe('digits.onnx is valid\n');
  });

  test('every kind of YAML is answered as what it is', async () => {
    const folder = packageFile('test', 'fixtures', 'azure');
    const kinds = ['endpoint', 'model', 'data', 'environment', 'compute'];
    const files = ['mnist-torch/endpoint.yml', ...kinds.slice(1).map((kind) => `assets/${kind}.yml`)];
    for (const [index, file] of files.entries()) {
      const path = join(folder, file);
      const json = await cli(['validate', path, '-o', 'json', '--set', 'description=words'], { cwd: dir });
      expect([json.code, JSON.parse(json.stdout)]).toMatchObject([0, { kind: kinds[index], description: 'words' }]);
      const table = await cli(['validate', path, '-o', 'table'], { cwd: dir });
      expect(table.stdout).toMatch(new RegExp(`^kind +${kinds[index]}\\nname +\\S`));
      expect(table.stderr).toMatch(/is valid: an? [a-z ]+\n$/);
    }
    await writeFile(join(dir, 'd.yml'), 'name: rows\npath: .\n');
    expect((await cli(['validate', 'd.yml'], { cwd: dir })).stderr).toContain('its kind cannot be told');
    expect((await cli(['validate', 'd.yml', '--type', 'data'], { cwd: dir })).stderr).toBe(
      'd.yml is valid: a data asset\n',
    );
    expect((await cli(['validate', 'd.yml', '--type', 'colour'], { cwd: dir })).code).toBe(2);
  });

  test('--environment is shown, and wins', async () => {
    const path = packageFile('test', 'fixtures', 'azure', 'heart-mlflow', 'deployment.yml');
    const own = await cli(['validate', path, '-o', 'table'], { cwd: dir });
    expect(own.stdout).toMatch(/^environment +conda file mlflow-env \(sha256:[0-9a-f]{12}\)$/m);
    const host = await cli(['validate', path, '-o', 'table', '--environment', 'host'], { cwd: dir });
    expect(host.stdout).toMatch(/^environment +the worker node’s own Python$/m);
  });

  test('a mistake has its place and exit code 2, a missing file 3', async () => {
    await writeFile(join(dir, 'd.yml'), 'type: model\nmodle: digits.onnx\n');
    const wrong = await cli(['validate', 'd.yml'], { cwd: dir });
    expect([wrong.code, wrong.stdout]).toEqual([2, '']);
    expect(wrong.stderr).toContain(
      'error CONFIG_UNKNOWN_KEY: d.yml:2:1: modle is not a known key; did you mean model?',
    );
    expect((await cli(['validate', 'gone.yml'], { cwd: dir })).code).toBe(3);
    const scale = await cli(['validate', 'digits.onnx', '--scale', 'big'], { cwd: dir });
    expect([scale.code, scale.stderr]).toEqual([2, expect.stringContaining('--scale: wanted a number above 0')]);
    for (const none of ['1/0', '0/255', '', '1/2/3']) {
      expect((await cli(['validate', 'digits.onnx', '--scale', none], { cwd: dir })).code).toBe(2);
    }
    expect(await cli(['validate', 'digits.onnx', '--scale', '1/255'], { cwd: dir })).toMatchObject({ code: 0 });
  });
});

describe('run', () => {
  const args = ['run', 'digits.onnx', '--input', 'in', '--output', 'out', '--slots', '3'];
  const ending = (status: JobState, seen: EmbeddedOptions[] = []) => ({
    cwd: dir,
    processes: {
      runEmbedded: async (options: EmbeddedOptions) => {
        seen.push(options);
        const error = { code: 'NO_RESULTS' as const, message: 'no rows at all', detail: 'why' };
        return Promise.resolve({ ...jobView('digits-1', status), error: status === 'Failed' ? error : null });
      },
    },
  });

  test('hands over what was resolved, says it, and answers with the job', async () => {
    const seen: EmbeddedOptions[] = [];
    const { code, stdout, stderr } = await cli(
      [...args, '--nodes', '2', '--overwrite', '--python', 'py'],
      ending('Completed', seen),
    );
    expect(code).toBe(0);
    expect(seen[0]).toMatchObject({
      inputPath: join(dir, 'in'),
      outputDir: join(dir, 'out'),
      isOverwrite: true,
      nodes: 2,
      slots: 3,
      python: 'py',
    });
    expect(JSON.parse(stdout)).toMatchObject({ name: 'digits-1', status: 'Completed' });
    expect(stdout.startsWith('{\n  "name": "digits-1"')).toBe(true);
    expect(stderr).toContain(`deployment  digits (built-in ONNX scorer, ${dir}/digits.onnx)\n`);
    expect(stderr).toContain(`input       ${dir}/in\noutput      ${dir}/out/predictions.csv\n`);
  });

  test('the exit code is the job’s fate', async () => {
    const failed = await cli(args, ending('Failed'));
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('error NO_RESULTS: no rows at all');
    expect(failed.stderr).toContain('\n    why\n');
    expect((await cli(args, ending('Canceled'))).code).toBe(4);
  });

  test('flags before environment before default', async () => {
    const seen: EmbeddedOptions[] = [];
    const environment = { BATCHMILL_SLOTS: '5', BATCHMILL_PYTHON: '/opt/python' };
    await cli(args, { ...ending('Completed', seen), environment });
    await cli(args.slice(0, 6), { ...ending('Completed', seen), environment });
    expect(seen.map((one) => [one.slots, one.python])).toEqual([
      [3, '/opt/python'],
      [5, '/opt/python'],
    ]);
  });

  test('the first Ctrl-C cancels and is waited for, the second ends at once', async () => {
    const host = testHost({
      cwd: dir,
      processes: {
        runEmbedded: async ({ signal }) => {
          const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
          expect(host.interrupt()).toBe(1);
          await aborted;
          expect(host.exits).toEqual([]);
          host.interrupt();
          return jobView('digits-1', 'Canceled');
        },
      },
    });
    expect(await runCli(args, host)).toBe(4);
    expect(host.exits).toEqual([130]);
    expect(host.err).toContain('canceling');
    expect(host.interrupt()).toBe(0);
  });
});

describe('processes', () => {
  const fingerprint = `sha256:${'ab'.repeat(32)}`;

  /** A handle whose end a test decides. */
  function handle() {
    const calls: string[] = [];
    const { promise, resolve, reject } = deferred<void>();
    const end = (call: string) => async (): Promise<void> => {
      calls.push(call);
      resolve();
      return promise;
    };
    return { calls, closed: promise, close: end('close'), drain: end('drain'), fail: reject };
  }

  test('coordinator start answers with real addresses and the line to join with, and closes at Ctrl-C', async () => {
    const process = handle();
    const given: CoordinatorSettings[] = [];
    const host = testHost({
      environment: { BATCHMILL_HTTP: '127.0.0.1:0', XDG_CONFIG_HOME: dir },
      processes: {
        startCoordinator: async (settings): Promise<CoordinatorProcess> => {
          given.push(settings);
          // Once it listens for it; before, the contexts are written.
          const press = (): void => void (host.interrupt() > 0 || setImmediate(press));
          setImmediate(press);
          return Promise.resolve({
            listen: { host: '::1', port: 4_001 },
            http: { host: '127.0.0.1', port: 4_002 },
            joinToken: 'secret',
            access: {
              authority: 'PEM',
              fingerprint: fingerprint,
              makeAdminToken: () => Promise.resolve('admin-token'),
            },
            ...process,
          });
        },
      },
    });
    expect(await runCli(['coordinator', 'start', '--listen', '[::1]:0', '--heartbeat-interval', '250ms'], host)).toBe(
      0,
    );
    expect(given[0]).toMatchObject({ listen: { host: '::1', port: 0 }, http: { port: 0 }, heartbeatMs: 250 });
    expect(JSON.parse(host.out)).toEqual({
      listen: '[::1]:4001',
      http: '127.0.0.1:4002',
      join: `batchmill worker join [::1]:4001 --token secret --ca-fingerprint ${fingerprint}`,
    });
    const { byName, current } = await readContexts({ XDG_CONFIG_HOME: dir });
    expect([current, byName.get('local')]).toEqual([
      'local',
      {
        server: { host: '127.0.0.1', port: 4_002 },
        ca: 'PEM',
        caFingerprint: fingerprint,
        token: 'admin-token',
        isInsecure: false,
      },
    ]);
    expect(host.err).toContain('context local');
    expect(host.err + host.out).not.toContain('admin-token');
    expect(process.calls).toEqual(['close']);
  });

  test('a coordinator that listens on every address is joined by the name of its machine', async () => {
    const process = handle();
    const host = testHost({
      processes: {
        startCoordinator: async (): Promise<CoordinatorProcess> => {
          setImmediate(() => host.interrupt());
          return Promise.resolve({
            listen: { host: '0.0.0.0', port: 4_001 },
            http: { host: '127.0.0.1', port: 4_002 },
            joinToken: 'secret',
            access: null,
            ...process,
          });
        },
      },
    });
    expect(await runCli(['coordinator', 'start', '--listen', '0.0.0.0:0', '--insecure'], host)).toBe(0);
    expect(JSON.parse(host.out)).toMatchObject({
      listen: '0.0.0.0:4001',
      join: `batchmill worker join ${hostname()}:4001 --token secret --insecure`,
    });
    expect(host.err).toContain('warning: --insecure on an address that a network reaches');
  });

  test('Ctrl-C drains a worker node', async () => {
    const process = handle();
    const host = testHost({
      processes: {
        startWorker: async (settings): Promise<WorkerProcess> => {
          setImmediate(() => host.interrupt());
          return Promise.resolve({ name: settings.name, slots: settings.slots, ...process });
        },
      },
    });
    expect(await runCli(['worker', 'join', 'machine:7077'], host)).toBe(0);
    expect([process.calls, host.exits]).toEqual([['drain'], []]);
    expect(host.err).toContain('leaving once what is running is scored');
  });

  test('told again, a worker node leaves at once but in order; told a third time, its process ends', async () => {
    const { promise: closed, resolve } = deferred<void>();
    const calls: string[] = [];
    const host = testHost({
      processes: {
        startWorker: async ({ name, slots }): Promise<WorkerProcess> => {
          setImmediate(() => host.interrupt());
          const drain = async (): Promise<void> => {
            calls.push('drain');
            host.interrupt();
            await closed;
          };
          const close = async (): Promise<void> => {
            calls.push('close');
            expect(host.exits).toEqual([]);
            setImmediate(() => {
              host.interrupt();
              resolve();
            });
            await closed;
          };
          return Promise.resolve({ name, slots, closed, drain, close });
        },
      },
    });
    expect(await runCli(['worker', 'join', 'machine:7077'], host)).toBe(0);
    expect([calls, host.exits]).toEqual([['drain', 'close'], [130]]);
    expect(host.err).toContain('giving back what is running');
  });

  test('a network is served with TLS and tokens unless --insecure says otherwise', async () => {
    const seen: CoordinatorSettings[] = [];
    const startCoordinator = (settings: CoordinatorSettings): Promise<CoordinatorProcess> => {
      seen.push(settings);
      throw new BatchError('STATE_LOCKED', 'taken');
    };
    const start = ['coordinator', 'start', '--http', '0.0.0.0:7078'];
    for (const args of [start, [...start, '--insecure']]) await cli(args, { processes: { startCoordinator } });
    expect(seen.map(({ http, isInsecure }) => [http.host, isInsecure])).toEqual([
      ['0.0.0.0', false],
      ['0.0.0.0', true],
    ]);
  });

  test('worker join hands its settings over and fails with the worker’s own error', async () => {
    const process = handle();
    const given: WorkerSettings[] = [];
    const labels = ['--label', 'gpu=a100', '--label', 'site=bonn'];
    const named = ['--slots', '4', '--name', 'gpu-1', '--scratch-dir', dir];
    const run = cli(['worker', 'join', 'machine:7077', ...named, ...labels], {
      environment: { BATCHMILL_TOKEN: 'from-environment' },
      processes: {
        startWorker: async (settings): Promise<WorkerProcess> => {
          given.push(settings);
          setImmediate(() => process.fail(new BatchError('NAME_TAKEN', 'gpu-1 is taken')));
          return Promise.resolve({ name: settings.name, slots: settings.slots, ...process });
        },
      },
    });
    const { code, stdout, stderr } = await run;
    expect([code, stdout]).toEqual([6, '']);
    expect(stderr).toContain('gpu-1 joined machine:7077 with 4 slots');
    expect(stderr).toContain('error NAME_TAKEN: gpu-1 is taken');
    expect(given).toEqual([
      {
        coordinators: [{ host: 'machine', port: 7_077 }],
        token: 'from-environment',
        fingerprint: null,
        isInsecure: false,
        slots: 4,
        labels: { gpu: 'a100', site: 'bonn' },
        name: 'gpu-1',
        untilWallMs: null,
        python: 'python3',
        scratchDir: dir,
        spoolBytesMax: limits.spoolBytesMax,
        cacheBytesMax: limits.artifactCacheBytesMax,
        peers: true,
      },
    ]);
  });
});
