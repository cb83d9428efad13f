import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import type { LockIdentity } from '../../common/io/lock-file.ts';
import { silentLog } from '../../common/io/log.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import type { Delay } from '../../common/io/delay.ts';
import { lockNode } from '../../worker/node-lock.ts';

let dir: string;
let now: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-lock-'));
  now = 0;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const identityOf = (pid: number, others: 'alive' | 'dead' | 'unknown'): LockIdentity => ({
  self: { pid, hostname: `host-${pid}`, bootId: 'b', startTicks: '1' },
  lifeOf: () => others,
});
/** Time passes in the waits alone. */
const lock = (pid: number, others: 'alive' | 'dead' | 'unknown', during: () => void = () => undefined) => {
  const clock = { monotonic: () => monotonicMs(now), wall: () => 1_000_000 + now };
  const delay: Delay = async (ms, signal) => {
    await new Promise((resolve) => void setImmediate(resolve));
    if (signal.aborted) return;
    now += ms;
    during();
  };
  const path = join(dir, 'nodes', 'gpu-1', 'lock');
  // Who holds it shows nothing here unless a test says so.
  const never: Delay = (ms, signal) =>
    ms < limits.nodeLockBeatMs
      ? delay(ms, signal)
      : new Promise((resolve) => void signal.addEventListener('abort', () => resolve()));
  return lockNode({ path, name: 'gpu-1', clock, delay: never, log: silentLog, identity: identityOf(pid, others) });
};

it('refuses a second node of the name in the folder, and says who has it', async () => {
  const release = await lock(1, 'dead');
  await expect(lock(2, 'alive')).rejects.toMatchObject({
    code: 'NAME_TAKEN',
    message: `a worker node named gpu-1 uses ${join(dir, 'nodes', 'gpu-1')}: process 1 on this machine; stop it, or give this one another --name or --scratch-dir`,
  });
  await release();
  await (
    await lock(2, 'alive')
  )();
  expect(readdirSync(join(dir, 'nodes', 'gpu-1'))).toEqual([]);
});

it('takes over from one that was killed', async () => {
  await lock(1, 'dead');
  await (
    await lock(2, 'dead')
  )();
  expect([now, existsSync(join(dir, 'nodes', 'gpu-1', 'lock'))]).toEqual([0, false]);
});

it('takes over from one of a machine that it cannot look into when that shows nothing, and not before', async () => {
  await lock(1, 'dead');
  await (
    await lock(2, 'unknown')
  )();
  expect(now).toBeGreaterThan(limits.nodeLockSilentMs);
});

it('is refused by one of another machine that shows a sign of life', async () => {
  await lock(1, 'dead');
  const { utimesSync } = await import('node:fs');
  const beat = (): void => utimesSync(join(dir, 'nodes', 'gpu-1', 'lock'), now, now);
  await expect(lock(2, 'unknown', beat)).rejects.toMatchObject({
    code: 'NAME_TAKEN',
    message: expect.stringContaining('process 1 on host-1') as string,
  });
});
