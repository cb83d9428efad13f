/** Scoring hosts of a worker node as real processes: what is told of one that dies between two mini-batches. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { deferred } from '../../common/io/deferred.ts';
import { delay } from '../../common/io/delay.ts';
import { silentLog } from '../../common/io/log.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import { HostLog } from '../../worker/host-log.ts';
import { HostSetup } from '../../worker/host-setup.ts';
import { HostSlots } from '../../worker/host-slots.ts';
import { NodeFiles } from '../../worker/node-files.ts';
import { until } from '../helpers/programs.ts';
import { jobA, jobSpec, token } from '../helpers/worker-rig.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-slots-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

test('a mini-batch for a host that has just died, and whose end is not told yet, is told as not begun', async () => {
  const code = join(dir, 'code');
  mkdirSync(code);
  writeFileSync(join(code, 'score.mjs'), 'export const run = (paths) => paths;\n');
  const told: WorkerCommand[] = [];
  const kinds = (): readonly string[] => told.map(({ kind }) => kind);
  const environment = { PATH: process.env['PATH'] ?? '' };
  const common = { clock: systemClock, log: silentLog };
  const setup = new HostSetup({
    ...common,
    environmentsDir: join(dir, 'environments'),
    scratchDir: dir,
    python: null,
    slots: 1,
    environment,
    delay,
  });
  const files = new NodeFiles(dir, nodeName('node-a'));
  const slots = new HostSlots({
    ...common,
    node: 'node-a',
    files,
    setup,
    outputs: { put: () => Promise.resolve(null), finish: () => undefined },
    hostLogBytesMax: limits.hostLogBytesMax,
    slots: 1,
    holdArtifacts: () => () => undefined,
    checkArtifacts: () => Promise.resolve(),
    tell: (command) => told.push(command),
  });
  // Between the end of the process and the word of it stand the files of its log.
  const closing = deferred<void>();
  const isClosing = vi.spyOn(HostLog.prototype, 'close').mockReturnValue(closing.promise);
  const spec = { ...jobSpec(jobA), scorer: { kind: 'node', script: 'score.mjs' } as const };
  slots.start(0, 7, spec, { model: null, code: { dir: code, path: code } });
  await until(() => kinds().includes('host-ready'), 'a host');
  slots.stop(0, 7, 'kill');
  await until(() => isClosing.mock.calls.length > 0, 'the end of its process');

  const place = { slot: 0, host: 7, work: 3, token: token(3) };
  const order = { ...place, timeoutMs: 1_000, first: 0, count: 1, attempt: 1, columns: null };
  slots.score(order, [], () => ({ kind: 'drain' }));
  closing.resolve();
  await slots.endOf(jobA);
  const [undone, ended] = ['attempt-unstarted', 'host-ended'].map((kind) => kinds().lastIndexOf(kind)) as [
    number,
    number,
  ];
  expect(undone).toBeGreaterThan(0);
  expect(ended).toBeGreaterThan(undone);
  expect(kinds()).not.toContain('attempt-failed');
});
