/** Schedules on a real coordinator over HTTP and the command line; and jobs of two priorities on worker nodes with labels. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { formatAddress } from '../../common/config/address.ts';
import { systemClock } from '../../common/io/clock.ts';
import { cli } from '../helpers/cli-host.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

const script = `
import { basename } from 'node:path';
const ms = Number(process.env.MS ?? 0);
export async function run(files) {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return files.map((file) => basename(file));
}
`;

let cluster: LocalCluster;
/** Of the coordinator: real time, and what it is set forward by. */
let aheadMs = 0;
const clock = { monotonic: () => systemClock.monotonic(), wall: () => systemClock.wall() + aheadMs };

beforeEach(async () => {
  aheadMs = 0;
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 }, clock });
  for (const dir of ['in', 'code']) mkdirSync(join(cluster.dir, dir));
  writeFileSync(join(cluster.dir, 'code', 'rows.mjs'), script);
  for (let file = 0; file < 24; file += 1) writeFileSync(join(cluster.dir, 'in', `f${10 + file}.txt`), 'x');
  writeFileSync(
    join(cluster.dir, 'deployment.yml'),
    'type: model\ncode_configuration: { code: ./code, scoring_script: rows.mjs }\nsettings: { mini_batch_size: 1 }\n',
  );
});
afterEach(() => cluster.close());

function origin(): string {
  const { http } = cluster.coordinator;
  if (!http) throw new Error('the coordinator serves no HTTP');
  return formatAddress(http);
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const json =
    body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const reply = await fetch(`http://${origin()}${path}`, { method, ...json });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${reply.status} ${text}`);
  return JSON.parse(text) as T;
}

async function deploy(endpoint: Record<string, unknown> = {}): Promise<void> {
  await call('PUT', '/v1/endpoints/digits', endpoint);
  const deployment = await loadDeployment(join(cluster.dir, 'deployment.yml'), { cwd: cluster.dir });
  await call('PUT', '/v1/endpoints/digits/deployments/rows', { deployment, set_default: true });
}

interface Job {
  readonly name: string;
  readonly status: string;
  readonly waiting: string | null;
}

async function until<T>(look: () => Promise<T | null>): Promise<T> {
  for (const endAt = performance.now() + 20_000; performance.now() < endAt;) {
    const found = await look();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('it has not come to be');
}

const finished = async (name: string): Promise<Job> =>
  await until(async () => {
    const job = await call<Job>('GET', `/v1/jobs/${name}`);
    return ['Completed', 'Failed', 'Canceled'].includes(job.status) ? job : null;
  });

const invoke = async (more: Record<string, unknown>): Promise<Job> =>
  await call<Job>('POST', '/v1/endpoints/digits/jobs', { input: join(cluster.dir, 'in'), ...more });

/** Shows one file and one folder below `/half/`; whatever else is asked for, it accepts and never answers. */
async function halfSilentServer(): Promise<{ readonly origin: string; close(): void }> {
  const server = createServer(({ url }, response) => {
    if (url === '/half/')
      response.writeHead(200, { 'content-type': 'text/html' }).end('<a href="a">a</a><a href="b/">b/</a>');
    if (url === '/half/a') response.writeHead(200, { 'content-length': 1 }).end('a');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe('a schedule', () => {
  it('begins its job when it is due, once, also after a restart, and says when it is due next', async () => {
    await deploy();
    await cluster.join('node-a', 2);
    const server = ['--server', origin(), '-o', 'json'];
    const given = ['--cron', '0 3 * * *', '--time-zone', 'Europe/Berlin', '--endpoint', 'digits', '--missed', 'once'];
    const input = ['--input', join(cluster.dir, 'in')];
    const created = await cli(['schedule', 'create', 'nightly', ...given, ...input, ...server]);
    expect([created.code, created.stderr]).toEqual([0, '']);
    const view = JSON.parse(created.stdout) as { readonly next_runs: readonly string[] };
    expect(view).toMatchObject({ name: 'nightly', missed: 'once', is_paused: false, last_run: null });
    const [first, second] = view.next_runs.map((time) => Date.parse(time));
    if (first === undefined || second === undefined) throw new Error('it is never due');
    // Down for two due times and more.
    await cluster.coordinator.close();
    aheadMs = second - systemClock.wall() + 3_600_000;
    cluster.coordinator = await cluster.open({ http: { host: '127.0.0.1', port: 0 }, clock });
    await cluster.join('node-b', 2);
    const name = `nightly-${new Date(second).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').toLowerCase()}z`;
    const job = await until(async () => {
      const { value } = await call<{ value: readonly Job[] }>('GET', '/v1/jobs');
      return value[0] ?? null;
    });
    expect(job.name).toBe(name);
    expect(await finished(name)).toMatchObject({ status: 'Completed', endpoint: 'digits', owner: 'local' });
    const rows = readFileSync(join(cluster.dir, 'state', 'outputs', name, 'score', 'predictions.csv'), 'utf8');
    expect(rows.split('\n').filter((line) => line.startsWith('f'))).toHaveLength(24);
    // Another process does not begin it again.
    await cluster.coordinator.close();
    cluster.coordinator = await cluster.open({ http: { host: '127.0.0.1', port: 0 }, clock });
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const { value } = await call<{ value: readonly Job[] }>('GET', '/v1/jobs');
    expect(value.map((one) => one.name)).toEqual([name]);
    const listed = await cli(['schedule', 'list', '--server', origin(), '-o', 'tsv']);
    expect(listed.stdout).toContain(`nightly\t0 3 * * * (Europe/Berlin)\tdigits\t`);
    expect(listed.stdout).toContain(`\t${name}\n`);
  });

  it('goes by its time beside one whose input does not answer, and neither holds up the end', async () => {
    const { origin: silent, close } = await halfSilentServer();
    try {
      await deploy();
      await invoke({ job_name: 'listing', input: `${silent}/half/` });
      const made = { cron: '* * * * *', endpoint_name: 'digits' };
      await call('PUT', '/v1/schedules/aaa', { ...made, body: { input: `${silent}/in/` } });
      await call('PUT', '/v1/schedules/bbb', { ...made, body: { input: join(cluster.dir, 'in') } });
      aheadMs += 60_000;
      const lastRun = async (name: string): Promise<{ readonly job: string } | null> =>
        (await call<{ last_run: { readonly job: string } | null }>('GET', `/v1/schedules/${name}`)).last_run;
      expect((await until(() => lastRun('bbb'))).job).toMatch(/^bbb-/);
      expect(await lastRun('aaa')).toBeNull();
      await cluster.coordinator.close();
      cluster.coordinator = await cluster.open({ http: { host: '127.0.0.1', port: 0 }, clock });
      // What the end cut short is no failure.
      expect(await lastRun('aaa')).toBeNull();
      expect((await call<Job>('GET', '/v1/jobs/listing')).status).not.toBe('Failed');
    } finally {
      close();
    }
  });

  it('asks for worker nodes with labels, which its job waits for', async () => {
    await deploy();
    await cluster.join('plain', 2);
    const server = ['--server', origin(), '-o', 'json'];
    const labels = ['--require', 'gpu=a100', '--require', 'zone=b'];
    const given = [
      '--cron',
      '0 3 * * *',
      '--endpoint',
      'digits',
      '--input',
      join(cluster.dir, 'in'),
      '--missed',
      'once',
    ];
    const bad = await cli(['schedule', 'create', 'night', ...given, '--require', 'gpu', ...server]);
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining('--require')]);
    const created = await cli(['schedule', 'create', 'night', ...given, ...labels, ...server]);
    expect([created.code, created.stderr]).toEqual([0, '']);
    const { next_runs: next } = JSON.parse(created.stdout) as { readonly next_runs: readonly string[] };
    await cluster.coordinator.close();
    aheadMs = Date.parse(next[0] ?? '') - systemClock.wall() + 3_600_000;
    cluster.coordinator = await cluster.open({ http: { host: '127.0.0.1', port: 0 }, clock });
    await cluster.join('plain-2', 2);
    const job = await until(async () => {
      const { value } = await call<{ value: readonly Job[] }>('GET', '/v1/jobs');
      return value[0]?.waiting ? value[0] : null;
    });
    expect(job).toMatchObject({ require: { gpu: 'a100', zone: 'b' }, rows: 0 });
    expect(job.waiting).toContain('gpu=a100');
    await cluster.join('fitting', 2, { labels: { gpu: 'a100', zone: 'b' } });
    expect(await finished(job.name)).toMatchObject({ status: 'Completed', rows: 24 });
  });

  it('is paused, goes on, is deleted, and refused when it makes no sense', async () => {
    await deploy();
    const server = ['--server', origin()];
    const given = ['--endpoint', 'digits', '--input', '/data'];
    const bad = await cli(['schedule', 'create', 'x', '--cron', 'often', ...given, ...server]);
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining('wanted five fields such as "0 3 * * *"')]);
    const none = await cli([
      'schedule',
      'create',
      'x',
      '--cron',
      '@daily',
      '--endpoint',
      'no',
      '--input',
      '/d',
      ...server,
    ]);
    expect([none.code, none.stderr]).toEqual([3, expect.stringContaining('there is no endpoint no')]);
    expect((await cli(['schedule', 'create', 'x', '--cron', '@daily', ...given, ...server])).code).toBe(0);
    const paused = await cli(['schedule', 'pause', 'x', ...server]);
    expect(JSON.parse(paused.stdout)).toMatchObject({ is_paused: true, next_runs: [] });
    const on = await cli(['schedule', 'resume', 'x', ...server]);
    expect((JSON.parse(on.stdout) as { next_runs: readonly string[] }).next_runs).toHaveLength(5);
    expect((await cli(['schedule', 'delete', 'x', ...server])).code).toBe(0);
    expect((await cli(['schedule', 'show', 'x', ...server])).code).toBe(3);
  });
});

describe('jobs on worker nodes', () => {
  it('of a higher priority take over between mini-batches, and nothing of the other is lost or tried again', async () => {
    await deploy();
    await cluster.join('node-a', 1);
    const slow = { overrides: { environment_variables: { MS: '150' } } };
    const low = await invoke({ job_name: 'low', priority: -5, ...slow });
    await until(async () => {
      const { rows } = await call<{ rows: number }>('GET', '/v1/jobs/low');
      return rows > 1 ? rows : null;
    });
    await invoke({ job_name: 'high', priority: 5 });
    const said = await until(async () => {
      const { waiting } = await call<Job>('GET', '/v1/jobs/low');
      return waiting?.includes('goes first') ? waiting : null;
    });
    expect(said).toContain('job high goes first (priority 5, this one -5)');
    const [first, second] = await Promise.all([finished('high'), finished(low.name)]);
    expect(first).toMatchObject({ status: 'Completed', rows: 24 });
    expect(second).toMatchObject({ status: 'Completed', rows: 24, mini_batches: { failed_tries: 0 } });
    const ends = [first, second].map((job) => (job as unknown as { ended_at: string }).ended_at);
    expect(ends).toEqual([...ends].sort());
  });

  it('of a compute are scored on the nodes with its labels alone; beyond the limit of an endpoint they wait', async () => {
    await call('PUT', '/v1/computes/gpu', { type: 'local', labels: { gpu: 'a100' } });
    await deploy({ concurrency_max: 1 });
    await cluster.join('plain', 2);
    await invoke({ job_name: 'first', compute: 'gpu' });
    await invoke({ job_name: 'second' });
    const waits = async (name: string, text: string): Promise<Job> =>
      await until(async () => {
        const job = await call<Job>('GET', `/v1/jobs/${name}`);
        return job.waiting?.includes(text) ? job : null;
      });
    await waits(
      'first',
      'no worker node of compute gpu is connected; start one with `batchmill worker join --label gpu=a100`',
    );
    const second = await waits('second', 'endpoint digits runs 1 job, as many as it may at once');
    expect(second.status).toBe('Preparing');
    await cluster.join('with-gpu', 2, { labels: { gpu: 'a100' } });
    expect(await finished('first')).toMatchObject({ status: 'Completed', rows: 24 });
    expect(await finished('second')).toMatchObject({ status: 'Completed', rows: 24 });
    const folder = join(cluster.dir, 'state', 'outputs', 'first', 'score', '_manifest');
    const chunks = readdirSync(folder).filter((name) => name.startsWith('files-'));
    const files = chunks.map((name) => readFileSync(join(folder, name), 'utf8')).join('');
    expect(new Set([...files.matchAll(/"node":"([^"]*)"/g)].map(([, node]) => node))).toEqual(new Set(['with-gpu']));
  });
});

describe('explain', () => {
  it('says why a job waits, what runs, and what became of a file that failed', async () => {
    writeFileSync(
      join(cluster.dir, 'code', 'rows.mjs'),
      `export function run(files) {
  if (files[0].endsWith('f12.txt')) throw new Error('no good');
  return files.map(() => 'row');
}
`,
    );
    await deploy();
    const server = ['--server', origin()];
    await invoke({ job_name: 'job', priority: 3, overrides: { max_retries: 2 } });
    const before = await until(async () => {
      const { stdout } = await cli(['explain', 'job', '-o', 'table', ...server]);
      return stdout.includes('no worker node') ? stdout : null;
    });
    expect(before).toBe(
      'job is Running (owner local, priority 3)\n' +
        'waits    no worker node is connected; start one with `batchmill worker join`\n' +
        'next     file 0 of 24\n',
    );
    await cluster.join('node-a', 1);
    expect((await finished('job')).status).toBe('Completed');
    // What a node notes of its attempts may come a moment after the job has ended.
    const stdout = await until(async () => {
      const told = (await cli(['job', 'explain', 'job', 'f12.txt', '-o', 'table', ...server])).stdout;
      return told.match(/^try /gm)?.length === 2 ? told : null;
    });
    expect(stdout).toContain('job is Completed (owner local, priority 3)\nnext     nothing: it is complete\n');
    expect(stdout).toContain('file     f12.txt (file 2): given up: SCORER_FAILED: ');
    expect(stdout).toContain('2 tries failed; `batchmill job retry JOB --failed-only` scores it again\n');
    expect(stdout.match(/^try \d {4}\S+ on node-a, process\d+: RUN_EXCEPTION after .*no good/gm)).toHaveLength(2);
    const fine = await until(async () => {
      const found = JSON.parse((await cli(['explain', 'job', 'f13.txt', '-o', 'json', ...server])).stdout) as {
        readonly file: { readonly attempts: readonly unknown[] };
      };
      return found.file.attempts.length > 0 ? found : null;
    });
    expect(fine).toMatchObject({
      reasons: [],
      file: {
        path: 'f13.txt',
        state: 'committed',
        happened: 'scored and committed from node-a',
        attempts: [{ attempt: 1 }],
      },
    });
    const none = await cli(['explain', 'job', 'f99.txt', ...server]);
    expect([none.code, none.stderr]).toEqual([3, expect.stringContaining('job job has no input file "f99.txt"')]);
    expect((await cli(['explain', 'nobody', ...server])).code).toBe(3);
  });
});
