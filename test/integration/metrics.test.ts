/** What /metrics says of a job that ran, read by Prometheus' own parser. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatAddress } from '../../common/config/address.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';

let cluster: LocalCluster;
let origin = '';
beforeAll(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
  const { http } = cluster.coordinator;
  origin = http === null ? '' : `http://${formatAddress(http)}`;
});
afterAll(() => cluster.close());

interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly (readonly [name: string, labels: Readonly<Record<string, string>>, value: number])[];
}

const parser = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
families = [{"name": f.name, "type": f.type, "help": f.documentation,
             "samples": [[s.name, s.labels, s.value if abs(s.value) < 1e300 else -1] for s in f.samples]} for f in parse(sys.stdin.read())]
print(json.dumps(families))
`;

/** @throws when the text is none */
function parse(text: string): readonly Family[] {
  const { status, stdout, stderr } = spawnSync(testPython(), ['-c', parser], { input: text, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Family[];
}

const scrape = async (): Promise<string> => await (await fetch(`${origin}/metrics`)).text();

/** Of all samples that have these labels. */
async function value(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  const samples = parse(await scrape()).flatMap((family) => family.samples);
  const isWanted = ([found, has]: (typeof samples)[number]): boolean =>
    found === name && Object.entries(labels).every(([key, one]) => has[key] === one);
  return samples.filter(isWanted).reduce((sum, [, , one]) => sum + one, 0);
}

test('counts what a job did, and goes on counting when the job is forgotten', async () => {
  const { dir } = cluster;
  const list = join(dir, 'poison');
  writeFileSync(list, 'b.txt\n');
  const environment = { POISON: list };
  const deployment = writeDeployment(dir, 'counted', { script: 'poison-rows.mjs', miniBatchSize: 1, environment });
  const input = writeInputs(
    join(dir, 'in'),
    ['a', 'b', 'c'].map((name) => [`${name}.txt`, name] as const),
  );
  const body = JSON.stringify({ deployment, input_path: input, output_path: join(dir, 'out'), name: 'counted' });
  const headers = { 'content-type': 'application/json' };
  expect((await fetch(`${origin}/v1/jobs`, { method: 'POST', headers, body })).status).toBe(201);
  await until(async () => (await value('batchmill_files_listed_total')) === 3, 'the listing');
  expect(await value('batchmill_mini_batches_queued')).toBe(3);
  expect(await value('batchmill_slots')).toBe(0);
  await cluster.join('n1', 2);
  await until(async () => (await value('batchmill_jobs', { state: 'Completed' })) === 1, 'the end of the job');
  expect(await value('batchmill_slots')).toBe(2);
  expect(await value('batchmill_nodes', { state: 'ready' })).toBe(1);
  expect(await value('batchmill_mini_batches_open')).toBe(0);
  expect(await value('batchmill_mini_batches_committed_total')).toBe(2);
  expect(await value('batchmill_mini_batches_quarantined_total')).toBe(1);
  expect(await value('batchmill_rows_total')).toBe(2);
  expect(await value('batchmill_files_scored_total')).toBe(2);
  expect(await value('batchmill_files_failed_total')).toBe(1);
  expect(await value('batchmill_attempts_failed_total', { code: 'SCORER_FAILED' })).toBe(3);
  expect(await value('batchmill_input_bytes_total')).toBe(3);
  expect(await value('batchmill_journal_records_total')).toBeGreaterThan(8);
  expect(await value('batchmill_journal_write_seconds_count')).toBeGreaterThan(2);
  const posted = { method: 'POST', route: '/v1/jobs', status: '201' };
  expect(await value('batchmill_http_request_seconds_count', posted)).toBe(1);
  await until(async () => (await fetch(`${origin}/v1/jobs/counted/output`)).ok, 'the sealed output');
  await cluster.coordinator.jobs.prune({
    ...{ names: ['counted'], olderThanMs: null, states: null, isDryRun: false, withOutput: false },
  });
  expect(await value('batchmill_jobs', { state: 'Completed' })).toBe(0);
  expect(await value('batchmill_jobs_ended_total', { state: 'Completed' })).toBe(1);
  expect(await value('batchmill_rows_total')).toBe(2);
  // A path that is none has no label of its own.
  await fetch(`${origin}/v1/nothing/of/the/kind`);
  expect(await value('batchmill_http_request_seconds_count', { route: 'none', status: '404' })).toBe(1);
  const text = await scrape();
  expect(text).not.toContain('counted');
  expect(text).not.toContain('n1"');
});

test('names, units and kinds are as Prometheus asks for, each with a word of help', async () => {
  const text = await scrape();
  const families = parse(text);
  expect(families.length).toBeGreaterThan(40);
  for (const { name, type, help, samples } of families) {
    expect([name, /^[a-z][a-z0-9_]*$/.test(name), help !== '', type !== 'unknown']).toEqual([name, true, true, true]);
    expect([name, /(milliseconds|_ms|_kb|_minutes)/.test(name)]).toEqual([name, false]);
    // The parser has taken the `_total` of counters away, and nothing else may have one.
    expect([name, name.endsWith('_total')]).toEqual([name, false]);
    expect([name, samples.length <= 500]).toEqual([name, true]);
  }
  expect(() => parse(`${text}\nbatchmill_jobs{state="x} 1\n`)).toThrow();
  const found = ['/usr/bin/promtool', '/usr/local/bin/promtool'].find((path) => existsSync(path));
  if (found === undefined) return;
  const { status, stdout, stderr } = spawnSync(found, ['check', 'metrics'], { input: text, encoding: 'utf8' });
  expect([status, stdout, stderr]).toEqual([0, '', '']);
});

test('docs/metrics.md tells each of ours, and no other', async () => {
  const told = [...readFileSync(packageFile('docs', 'metrics.md'), 'utf8').matchAll(/^\| `(batchmill_\w+)/gm)];
  const types = [...(await scrape()).matchAll(/^# TYPE (batchmill_\w+) /gm)];
  expect(told.map(([, name]) => name).sort()).toEqual(types.map(([, name]) => name).sort());
});
