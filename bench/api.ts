/**
 * The HTTP API of a coordinator as a process of its own, with `API_JOBS` jobs (10,000) in its list: the first page, a walk of all
 * pages, one job, 304s; and 200 invokes at once, with one idempotency key, with as many keys, and with none. One JSON line each.
 * Ends with 1 when a key makes more than one job, a page is lost or told twice, or the first page takes longer than 100 ms at p95.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultOnnxSettings } from '../common/core/onnx-settings.ts';
import type { Deployment } from '../common/core/deployment.ts';
import { jobName } from '../common/core/ids.ts';
import { plainOrigin } from '../common/core/job-origin.ts';
import { systemClock } from '../common/io/clock.ts';
import { silentLog } from '../common/io/log.ts';
import { systemRandom } from '../common/io/random.ts';
import { openCoordinator } from '../coordinator/coordinator.ts';
import type { DurableEvent } from '../coordinator/core/events.ts';
import { Journal } from '../coordinator/journal/journal.ts';

const jobs = Number(process.env['API_JOBS'] ?? 10_000);
const invokes = 200;
const rounds = 200;
const pageMsMax = 100;

const deployment: Deployment = {
  name: 'listed',
  scorer: { kind: 'onnx', settings: defaultOnnxSettings },
  model: null,
  code: null,
  environment: { kind: 'host', python: null },
  settings: {
    miniBatchSize: { kind: 'files', files: 1 },
    ...{ triesMax: 3, timeoutMs: 30_000, errorThreshold: -1, isolation: 'file', outputAction: 'append_row' },
    ...{ outputFileName: 'predictions.csv', outputFormat: 'csv', loggingLevel: 'info', environmentVariables: {} },
    ...{ instanceCountMax: null, concurrencyPerInstanceMax: null, recursive: true, customOutput: 'collected' },
    ...{ memoryBytesMax: null, speculation: 'auto', progressTimeoutMs: null },
  },
};

/** Jobs that were canceled as soon as they had been listed: what a list shows of a job costs the same whatever became of it. */
async function fill(stateDir: string): Promise<void> {
  const ignore = (): void => undefined;
  const fail = (error: unknown): void => {
    throw error as Error;
  };
  const journal = await Journal.open({
    dir: stateDir,
    onRecord: ignore,
    onSynced: ignore,
    onStall: ignore,
    onFatal: fail,
  });
  journal.beginEpoch();
  const append = (event: DurableEvent): number => journal.append(event);
  for (let i = 0; i < jobs; i += 1) {
    const job = jobName(`job-${String(i).padStart(6, '0')}`);
    const origin = { ...plainOrigin, endpoint: i % 10 === 0 ? 'tenth' : 'others' };
    append({ kind: 'JobSubmitted', job, deployment, inputPath: '/in', outputDir: `/out/${i}`, wallMs: i, origin });
    append({ kind: 'ListingEnded', job, skipped: 0, sizes: [] });
    append({ kind: 'JobStateChanged', job, state: 'Canceled', error: null, wallMs: i });
    append({ kind: 'JobSealed', job });
  }
  await journal.close();
}

/** The coordinator's process: says its port, ends with its parent. */
async function serve(stateDir: string): Promise<void> {
  const parts = { log: silentLog, clock: systemClock, random: systemRandom, heartbeatMs: null, keepFinishedMs: null };
  const http = { host: '127.0.0.1', port: 0 };
  const coordinator = await openCoordinator({ ...parts, stateDir, listen: '127.0.0.1:0', http });
  process.send?.(coordinator.http?.port);
  process.once('disconnect', () => void coordinator.close().then(() => process.exit(0)));
}

interface Page {
  readonly value: readonly { readonly name: string }[];
  readonly next: string | null;
}

const percentile = (ms: readonly number[], part: number): number =>
  Math.round((ms.toSorted((a, b) => a - b)[Math.min(ms.length - 1, Math.floor(ms.length * part))] ?? 0) * 100) / 100;

function tell(what: string, ms: readonly number[], more: Readonly<Record<string, unknown>> = {}): void {
  const seconds = { p50Ms: percentile(ms, 0.5), p95Ms: percentile(ms, 0.95), maxMs: percentile(ms, 1) };
  console.log(JSON.stringify({ bench: 'api', what, count: ms.length, ...seconds, ...more }));
}

async function timed<T>(ms: number[], work: () => Promise<T>): Promise<T> {
  const begin = systemClock.monotonic();
  const result = await work();
  ms.push(systemClock.monotonic() - begin);
  return result;
}

async function lists(origin: string): Promise<boolean> {
  const get = async (query: string): Promise<Page> =>
    (await (await fetch(`${origin}/v1/jobs?${query}`)).json()) as Page;
  const first: number[] = [];
  for (let i = 0; i < rounds; i += 1) await timed(first, () => get('limit=50'));
  tell('first page of 50', first);
  const filtered: number[] = [];
  for (let i = 0; i < rounds; i += 1) await timed(filtered, () => get('endpoint=tenth&limit=50'));
  tell('first page of 50 of one endpoint in ten', filtered);
  let isWhole = true;
  for (const limit of [50, 1_000]) {
    const walk: number[] = [];
    const names = new Set<string>();
    let told = 0;
    const begin = systemClock.monotonic();
    for (let cursor: string | null = ''; cursor !== null;) {
      const query: string = `limit=${limit}${cursor === '' ? '' : `&cursor=${cursor}`}`;
      const page: Page = await timed(walk, () => get(query));
      for (const { name } of page.value) names.add(name);
      told += page.value.length;
      cursor = page.next;
    }
    isWhole &&= names.size === jobs && told === jobs;
    tell(`walk in pages of ${limit}`, walk, { jobs: told, seconds: (systemClock.monotonic() - begin) / 1_000 });
  }
  const one: number[] = [];
  const url = `${origin}/v1/jobs/job-000000`;
  for (let i = 0; i < rounds; i += 1) await timed(one, async () => await (await fetch(url)).json());
  tell('one job, the oldest', one);
  const etag = (await fetch(url)).headers.get('etag') ?? '';
  const known: number[] = [];
  for (let i = 0; i < rounds; i += 1)
    await timed(known, async () => await (await fetch(url, { headers: { 'if-none-match': etag } })).text());
  tell('one job that is known already (304)', known);
  return isWhole && percentile(first, 0.95) <= pageMsMax;
}

const json = { 'content-type': 'application/json' };

async function invokesOf(origin: string, dir: string): Promise<boolean> {
  const put = async (path: string, body: unknown): Promise<void> => {
    const reply = await fetch(`${origin}${path}`, { method: 'PUT', headers: json, body: JSON.stringify(body) });
    if (!reply.ok) throw new Error(`${path}: ${await reply.text()}`);
  };
  await put('/v1/endpoints/bench', {});
  await put('/v1/endpoints/bench/deployments/only', { deployment: join(dir, 'rows.mjs') });
  const body = JSON.stringify({ input: join(dir, 'in') });
  const cases: readonly (readonly [string, (index: number) => Readonly<Record<string, string>>, number])[] = [
    ['one key', () => ({ 'idempotency-key': 'same' }), 1],
    ['a key each', (index) => ({ 'idempotency-key': `key-${index}` }), invokes],
    ['no key', () => ({}), invokes],
  ];
  let isRight = true;
  for (const [what, headers, wanted] of cases) {
    const ms: number[] = [];
    const begin = systemClock.monotonic();
    const replies = await Promise.all(
      Array.from({ length: invokes }, (_, index) =>
        timed(ms, async () => {
          const reply = await fetch(`${origin}/v1/endpoints/bench/jobs`, {
            ...{ method: 'POST', headers: { ...json, ...headers(index) }, body },
          });
          return { status: reply.status, name: ((await reply.json()) as { name?: string }).name ?? '' };
        }),
      ),
    );
    const made = new Set(replies.map(({ name }) => name)).size;
    const statuses = Object.fromEntries(
      [200, 201].map((code) => [code, replies.filter(({ status }) => status === code).length]),
    );
    tell(`${invokes} invokes at once, ${what}`, ms, {
      jobs: made,
      statuses,
      seconds: (systemClock.monotonic() - begin) / 1_000,
    });
    isRight &&= made === wanted && statuses['201'] === wanted && (statuses['200'] ?? 0) === invokes - wanted;
  }
  return isRight;
}

async function main(): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-bench-api-'));
  const stateDir = join(dir, 'state');
  mkdirSync(join(dir, 'in'), { recursive: true });
  mkdirSync(stateDir);
  for (let i = 0; i < 10; i += 1) writeFileSync(join(dir, 'in', `${i}.txt`), 'x');
  writeFileSync(join(dir, 'rows.mjs'), 'export const run = (files) => files;\n');
  await fill(stateDir);
  const server = fork(fileURLToPath(import.meta.url), ['serve', stateDir], { execArgv: [] });
  try {
    const port = await new Promise<number>((resolve, reject) => {
      server.once('message', (message) => resolve(Number(message)));
      server.once('exit', (code) => reject(new Error(`the coordinator ended with ${code}`)));
    });
    const origin = `http://127.0.0.1:${port}`;
    const isListed = await lists(origin);
    const isInvoked = await invokesOf(origin, dir);
    return isListed && isInvoked ? 0 : 1;
  } finally {
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.disconnect();
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
}

const [role, stateDir] = process.argv.slice(2);
if (role === 'serve' && stateDir !== undefined) await serve(stateDir);
else process.exit(await main());
