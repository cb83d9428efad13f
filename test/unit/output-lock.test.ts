import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { ProcessIdentity } from '../../common/io/process-identity.ts';
import { OutputLocks } from '../../coordinator/output/output-lock.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-lock-'));
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

/** Locks of process `pid`, which sees all others as `others`; `cluster`: of a coordinator that is one of several. */
function locksOf(
  pid: number,
  others: 'alive' | 'dead' | 'unknown' = 'alive',
  cluster: string | null = null,
): OutputLocks {
  const self: ProcessIdentity = { pid, hostname: 'alpha', bootId: 'b', startTicks: String(pid) };
  return new OutputLocks({ self, lifeOf: () => others }, nodeFileSystem, cluster);
}

test('one process at a time has a folder; what it releases leaves nothing behind', async () => {
  const one = locksOf(1);
  await one.take(dir);
  await expect(locksOf(2).take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'a job of process 1 on this machine is'));
  await one.release(dir);
  expect(await readdir(dir)).toEqual([]);
  const two = locksOf(2);
  await two.take(dir);
  await one.release(dir);
  await expect(one.take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'a job of process 2 on this machine is'));
  await two.close();
  expect(await readdir(dir)).toEqual([]);
});

test('the lock of a dead process is taken over; that of one nobody can see is named with what to do', async () => {
  await locksOf(1).take(dir);
  await expect(locksOf(2, 'unknown').take(dir)).rejects.toThrow(
    failing('OUTPUT_EXISTS', `or remove ${join(dir, '.batchmill-lock')} when it no longer runs`),
  );
  await locksOf(2, 'dead').take(dir);
  await expect(locksOf(3).take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'process 2'));
  await writeFile(join(dir, '.batchmill-lock'), 'mine');
  await expect(locksOf(3).take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'is not a lock of this program'));
});

test('a job that was here before a restart goes on, whoever holds the folder, or without a folder', async () => {
  await locksOf(1).take(dir);
  const two = locksOf(2);
  await two.takeAgain(dir);
  await two.takeAgain(join(dir, 'gone'));
  await two.close();
  expect(await readdir(dir)).toEqual(['.batchmill-lock']);
});

test('whoever leads has the locks of who led before it, wherever that was, and leaves nothing behind', async () => {
  const before = locksOf(1, 'unknown', 'lab');
  await before.take(dir);
  const now = locksOf(2, 'unknown', 'lab');
  await now.takeAgain(dir);
  await expect(now.take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'process 2'));
  await before.close();
  expect(await readdir(dir)).toEqual(['.batchmill-lock']);
  await expect(locksOf(3, 'unknown', 'other').take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'process 2'));
  await expect(locksOf(4, 'unknown').take(dir)).rejects.toThrow(failing('OUTPUT_EXISTS', 'process 2'));
  await now.close();
  expect(await readdir(dir)).toEqual([]);
});
