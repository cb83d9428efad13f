/** A coordinator whose disk is slow: worker nodes wait for it, and nobody's memory fills. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { commandEnvironment } from '../../common/config/process-settings.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { silentLog } from '../../common/io/log.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { systemRandom } from '../../common/io/random.ts';
import { openCoordinator, type Coordinator } from '../../coordinator/coordinator.ts';
import { ResultStore } from '../../coordinator/result-store.ts';
import { startWorker, type WorkerHandle } from '../../worker/worker.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';

let dir = '';
let coordinator: Coordinator;
let worker: WorkerHandle;
/** Most bytes of results that the coordinator had in memory at once, and all that came. */
let peakBytes = 0;
let allBytes = 0;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-slow-'));
  peakBytes = 0;
  allBytes = 0;
  const { open } = nodeFileSystem;
  vi.spyOn(nodeFileSystem, 'open').mockImplementation(async (path, mode) => {
    const file = await open(path, mode);
    if (!path.startsWith(join(dir, 'out'))) return file;
    const datasync = file.datasync.bind(file);
    file.datasync = async () => {
      await delay(400, new AbortController().signal);
      await datasync();
    };
    return file;
  });
  const { putPiece } = ResultStore.prototype;
  vi.spyOn(ResultStore.prototype, 'putPiece').mockImplementation(async function (this: ResultStore, piece) {
    const progress = await putPiece.call(this, piece);
    allBytes += piece.data.length;
    peakBytes = Math.max(peakBytes, this.heldBytes);
    return progress;
  });
  coordinator = await openCoordinator({
    stateDir: join(dir, 'state'),
    listen: '127.0.0.1:0',
    http: null,
    heartbeatMs: null,
    keepFinishedMs: null,
    log: silentLog,
    clock: systemClock,
    random: systemRandom,
  });
  worker = await startWorker({
    address: coordinator.listen,
    token: coordinator.joinToken,
    name: 'n1',
    slots: 2,
    python: null,
    scratchDir: join(dir, 'scratch'),
    spoolBytesMax: 16 * 1_048_576,
    environment: commandEnvironment(),
    log: silentLog,
    clock: systemClock,
    random: systemRandom,
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await worker.close();
  await coordinator.close();
  rmSync(dir, { recursive: true, force: true });
});

test('a slow disk slows the worker node, and what is under way stays within its credit and its spool', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(300));
  const environment = { PAD_CHARS: '200000' };
  const path = writeDeployment(dir, 'wide', { script: 'hash-rows.mjs', miniBatchSize: 10, environment });
  const request = { deployment: await loadDeployment(path), inputPath: input, outputDir: join(dir, 'out') };
  const { name } = await coordinator.jobs.submit({ ...request, isOverwrite: false, name: null });
  let heldMax = 0;
  for await (const _ of coordinator.jobs.events(name, 0, AbortSignal.timeout(60_000))) {
    heldMax = Math.max(heldMax, worker.stats().held);
  }
  expect(coordinator.jobs.show(name)).toMatchObject({ status: 'Completed', rows: 300 });
  const bound = Math.min(limits.uploadStreamsMax * limits.uploadCreditBytes, limits.placingBytesMax);
  expect(allBytes).toBeGreaterThan(60_000_000);
  // The disk was behind, and no more than the credit was under way, less than all there was.
  expect(peakBytes).toBeGreaterThan(2_000_000);
  expect(peakBytes).toBeLessThanOrEqual(bound);
  // Of thirty: nine results fill the spool, two more are being scored, and how many are held ahead is a matter of their times.
  expect(heldMax).toBeLessThanOrEqual(20);
}, 60_000);
