/** Parts of large tables out of a store: a node asks for the bytes that a part needs, and for no others. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { onnxModel } from '../helpers/onnx-model.ts';
import { endPrograms } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { testStores } from '../helpers/seed-store.ts';
import { azuriteEnvironment, makeContainer, startAzurite, type StoreServer } from '../helpers/store-servers.ts';

let dir = '';
let azurite: StoreServer;
let environment: Readonly<Record<string, string>>;
const rows = 200_000;
let bytes = 0;

beforeAll(async () => {
  azurite = await startAzurite();
  environment = azuriteEnvironment(azurite.origin);
  await makeContainer(azurite.origin, 'con', 'private');
  const x = Array.from({ length: rows }, (_, i) => Math.sqrt(i));
  const columnData = [{ name: 'x', data: x, type: 'DOUBLE' as const }];
  const table = parquetWriteBuffer({ columnData, rowGroupSize: 10_000, codec: 'UNCOMPRESSED' });
  bytes = table.byteLength;
  const place = parseLocation('az://con/in/x.parquet') as StoreLocation;
  const { store, key } = await testStores(environment).openToWrite(place);
  await store.put(key, new Uint8Array(table));
});
afterAll(() => azurite.close());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-split-stores-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

test('Parquet: two nodes share a file out, and neither reads what the other has', async () => {
  const value = { type: 'float64', shape: ['n', 1] } as const;
  const nodes = [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }];
  const model = onnxModel({ inputs: [{ name: 'x', ...value }], outputs: [{ name: 'y', ...value }], nodes });
  writeFileSync(join(dir, 'same.onnx'), model);
  const cluster = await ClusterProcesses.start({ dir, environment });
  const workers = [await cluster.startWorker('one', { slots: 1 }), await cluster.startWorker('two', { slots: 1 })];
  const output = join(dir, 'out');
  const given = ['--input', 'az://con/in', '--output', output, '--split-files', '128KB', '--mini-batch-size', '1'];
  const job = await cluster.submit([join(dir, 'same.onnx'), ...given]);
  const end = await cluster.job(job, ({ ended_at: ended }) => ended !== null, 'its end', 60_000);
  expect(end).toMatchObject({ status: 'Completed', rows });
  expect(end.files.total).toBeGreaterThan(10);
  const { files } = readOutput(output);
  expect(new Set(files.map(({ node }) => node))).toEqual(new Set(['one', 'two']));
  const lines = readFileSync(join(output, 'predictions.csv'), 'utf8').trimEnd().split('\n').slice(1);
  expect(lines.every((line, i) => line.startsWith(`x.parquet,${i},`))).toBe(true);

  let read = 0;
  for (const worker of workers) {
    await worker.says(/inputs came straight from the store/);
    const [, came = ''] = /inputs came straight from the store.*?bytes["=: ]+(\d+)/.exec(worker.stderr) ?? [];
    expect(worker.stderr).not.toContain('through the coordinator');
    read += Number(came);
  }
  // Each has looked for the footer within the last 64 KiB, and kept it.
  expect(read).toBeGreaterThan(0.9 * bytes);
  expect(read).toBeLessThan(bytes + 2 * 2 * 65_536);
});
