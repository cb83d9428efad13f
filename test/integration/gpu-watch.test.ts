/** A worker node whose driver is recorded: how full its GPUs are is told wherever the node is, and by failures for want of their memory. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatAddress } from '../../common/config/address.ts';
import { findDevices } from '../../worker/devices/find-devices.ts';
import { cli } from '../helpers/cli-host.ts';
import { a100, installDriver, steadyLooks, wholeDocument, type FakeDriver } from '../helpers/fake-nvidia-smi.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';

let cluster: LocalCluster;
let driver: FakeDriver;
let server: readonly string[] = [];
let origin = '';
beforeAll(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 }, heartbeatMs: 100 });
  const { http } = cluster.coordinator;
  if (!http) throw new Error('the coordinator serves no HTTP');
  origin = formatAddress(http);
  server = ['--server', origin];
  const bin = join(cluster.dir, 'bin');
  mkdirSync(bin);
  driver = installDriver(bin);
  driver.looks(steadyLooks(30_720, 93));
  driver.tells(wholeDocument(39_000, [[1, '38000 MiB']]));
  const environment = { PATH: driver.PATH };
  await cluster.join('n1', 1, { environment, devices: await findDevices(environment) });
});
afterAll(() => cluster.close());

const script = (dir: string): string => `
import { existsSync } from 'node:fs';
const wait = async (name) => {
  while (!existsSync('${dir}/' + name)) await new Promise((resolve) => setTimeout(resolve, 20));
};
export async function init() {
  if (process.env.FAILS_AT_ONCE) throw new Error('CUDA failure 2: out of memory ; GPU=0');
}
export async function run([file]) {
  await wait('go');
  if (file.endsWith('large.txt')) throw new Error('CUDA out of memory. Tried to allocate 2.00 GiB');
  return [process.env.CUDA_VISIBLE_DEVICES];
}
`;

async function submit(name: string, environment: string): Promise<void> {
  const code = join(cluster.dir, 'code');
  mkdirSync(code, { recursive: true });
  writeFileSync(join(code, 'score.mjs'), script(cluster.dir));
  const deployment = join(cluster.dir, `${name}.yml`);
  const lines = ['code_configuration: { code: ./code, scoring_script: score.mjs }', 'mini_batch_size: 1'];
  writeFileSync(deployment, `${[...lines, environment, 'error_threshold: -1'].join('\n')}\n`);
  const input = writeInputs(join(cluster.dir, 'in'), [
    ['large.txt', 'x'],
    ['small.txt', 'x'],
  ]);
  const out = ['--output', join(cluster.dir, `${name}-out`), '--name', name];
  const made = await cli(['job', 'submit', deployment, '--input', input, ...out, ...server]);
  expect([made.code, made.code === 0 ? '' : made.stderr]).toEqual([0, '']);
}

interface Shown {
  readonly gpus: readonly unknown[];
}
const shown = async (): Promise<Shown> =>
  JSON.parse((await cli(['node', 'show', 'n1', '-o', 'json', ...server])).stdout) as Shown;
const metrics = async (): Promise<readonly string[]> =>
  (await (await fetch(`http://${origin}/metrics`)).text())
    .split('\n')
    .filter((line) => line.startsWith('batchmill_gpu'));
const looking = (): number => driver.started().filter(({ args }) => args.includes(' -l ')).length;

test('is told of the node while a scoring host has a GPU, and by a failure for want of its memory', async () => {
  expect([(await shown()).gpus, await metrics(), looking()]).toEqual([[], [], 0]);
  await submit('full', '');
  await until(async () => (await shown()).gpus.length > 0, 'figures of GPUs');
  const common = { model: a100, memory_bytes: 40 * 2 ** 30 };
  expect((await shown()).gpus).toEqual([
    { ...common, name: '0', memory_used_bytes: 30 * 2 ** 30, busy_percent: 93 },
    { ...common, name: '1', memory_used_bytes: 512 * 2 ** 20, busy_percent: null },
  ]);
  const sheet = (await cli(['node', 'show', 'n1', '-o', 'table', ...server])).stdout;
  expect(sheet).toContain(`0 (${a100}): 30.0 GB of 40.0 GB, 93 % busy, 1 (${a100}): 512.0 MB of 40.0 GB`);
  expect(await metrics()).toEqual([
    `batchmill_gpu_memory_used_bytes{node="n1",gpu="0"} ${30 * 2 ** 30}`,
    `batchmill_gpu_memory_used_bytes{node="n1",gpu="1"} ${512 * 2 ** 20}`,
    `batchmill_gpu_memory_bytes{node="n1",gpu="0"} ${40 * 2 ** 30}`,
    `batchmill_gpu_memory_bytes{node="n1",gpu="1"} ${40 * 2 ** 30}`,
    'batchmill_gpu_busy_ratio{node="n1",gpu="0"} 0.93',
  ]);
  writeFileSync(join(cluster.dir, 'go'), '');
  expect((await cli(['job', 'wait', 'full', ...server])).code).toBe(0);
  const { stdout } = await cli(['job', 'errors', 'full', '-o', 'json', ...server]);
  expect(stdout).toContain(
    'the GPU, not the machine, has no memory left: Error: CUDA out of memory. Tried to allocate 2.00 GiB; ' +
      `GPU 0 (${a100}) has 38.1 of 40.0 GB in use now, 37.1 GB of it by 1 other program than scoring hosts of ` +
      'this worker node (process 1 python3)',
  );
  await until(async () => (await shown()).gpus.length === 0, 'the end of the host');
  expect([await metrics(), looking()]).toEqual([[], 1]);
  const records = readdirSync(cluster.dir, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.includes('sys/processes/process'))
    .map((path) => JSON.parse(readFileSync(join(cluster.dir, path), 'utf8')) as object);
  expect(records.length).toBeGreaterThan(0);
  for (const record of records) expect(record).toMatchObject({ peak_gpu_memory_bytes: 30 * 2 ** 30 });
});

test('is told by a model for which there was no room from the start', async () => {
  await submit('no-room', 'environment_variables: { FAILS_AT_ONCE: "1" }');
  expect((await cli(['job', 'wait', 'no-room', ...server])).code).toBe(1);
  const { stdout } = await cli(['job', 'show', 'no-room', '-o', 'json', ...server]);
  expect(stdout).toContain('CUDA failure 2: out of memory ; GPU=0; GPU 0');
  expect(stdout).toContain('by 1 other program than scoring hosts of this worker node');
});
