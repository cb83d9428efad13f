/**
 * The longest time between two heartbeats of a worker node while every slot of it runs a model that computes for 30 s a
 * mini-batch and never yields: a coordinator and a worker node as processes, as many slots as processors, the default
 * interval of 5 s. One JSON line per kind of script; must stay below twice the interval.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits } from '../common/core/limits.ts';
import { measureBusyNode } from '../test/helpers/busy-node.ts';
import { endPrograms } from '../test/helpers/programs.ts';

const heartbeatMs = limits.heartbeatMsMin;
const spinMs = 30_000;

for (const script of ['spin.py', 'spin.ts'] as const) {
  const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
  try {
    const { slots, gapMsMax } = await measureBusyNode({ dir, script, heartbeatMs, spinMs, rounds: 2 });
    console.log(JSON.stringify({ bench: 'heartbeat', script, slots, spinMs, heartbeatMs, gapMsMax }));
    if (gapMsMax >= 2 * heartbeatMs) process.exitCode = 1;
  } finally {
    await endPrograms();
    await rm(dir, { recursive: true, force: true });
  }
}
