/** The log folder of a job: where pieces from nodes go, and where they cannot go. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { jobName } from '../../common/core/ids.ts';
import { silentLog } from '../../common/io/log.ts';
import { LogStore } from '../../coordinator/logs/log-store.ts';
import { failing } from '../helpers/failing.ts';
import { canMountSmall, fill, mountSmall, unmountSmall } from '../helpers/small-disk.ts';

const job = jobName('a');
const name = 'user/stdout/process000.stdout.txt';

describe('logs that nodes send', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'batchmill-tree-'));
    mkdirSync(join(dir, 'out'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const open = (): LogStore =>
    new LogStore({ outputDirOf: (of) => (of === job ? join(dir, 'out') : null), log: silentLog });
  const piece = (offset: number, text: string, of = name) => ({ job, name: of, offset, data: Buffer.from(text) });
  const stored = (): string =>
    readFileSync(join(dir, 'out', '_logs', 'user', 'stdout', 'node-1', 'process000.stdout.txt'), 'utf8');

  it('are put together in order, across a restart, and nothing is taken twice', async () => {
    const store = open();
    expect(await store.take('node-1', piece(0, 'abc'))).toBe(3);
    expect(await store.take('node-1', piece(3, 'def'))).toBe(6);
    expect(await store.take('node-1', piece(3, 'def'))).toBe(6);
    const restarted = open();
    expect(await restarted.take('node-1', piece(0, ''))).toBe(6);
    expect(await restarted.take('node-1', piece(9, 'a gap'))).toBe(6);
    expect(await restarted.take('node-1', piece(6, 'ghi'))).toBe(9);
    expect(stored()).toBe('abcdefghi');
    expect(await restarted.take('node-1', piece(0, 'new'))).toBe(3);
    expect(stored()).toBe('new');
  });

  it.each([
    '../../x',
    '/etc/x',
    'user/../../../x',
    'user//x',
    'job_result.txt',
    'sys/job_report/x.csv',
    'user/a\0b',
    '',
  ])('cannot be called %j', async (of) => {
    expect(() => open().take('node-1', piece(0, 'x', of))).toThrow(failing('REQUEST_INVALID', 'the name of a log'));
    expect(existsSync(join(dir, 'out', '_logs'))).toBe(false);
    expect(readdirSync(dir)).toEqual(['out']);
  });

  it('keep out of a folder that is being cleared, once what was being written is written', async () => {
    const store = open();
    const out = join(dir, 'out');
    await store.take('node-1', piece(0, 'abc'));
    const writing = store.take('node-1', piece(3, 'def'));
    const [reopen, again] = [await store.close(out), await store.close(out)];
    expect(stored()).toBe('abcdef');
    expect(await writing).toBe(6);
    rmSync(join(out, '_logs'), { recursive: true });
    for (const end of [again, again, reopen]) {
      await expect(store.take('node-1', piece(6, 'late'))).rejects.toThrow(failing('JOB_NOT_FOUND', 'no log folder'));
      await store.append(job, 'job_progress_overview.txt', 'late');
      expect(readdirSync(out)).toEqual([]);
      end();
    }
    await store.append(job, 'job_progress_overview.txt', 'in time');
    expect(readdirSync(join(out, '_logs'))).toContain('job_progress_overview.txt');
  });

  it('of a job that has no folder here are refused, and a folder that is gone is not made again', async () => {
    const other = { ...piece(0, 'x'), job: jobName('b') };
    await expect(open().take('node-1', other)).rejects.toThrow(failing('JOB_NOT_FOUND', 'no log folder'));
    rmSync(join(dir, 'out'), { recursive: true });
    await expect(open().take('node-1', piece(0, 'x'))).rejects.toThrow(
      failing('STATE_UNWRITABLE', 'cannot be written'),
    );
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });

  it.skipIf(!canMountSmall())(
    'of which a full disk took a part are asked for from the end of that part on',
    async () => {
      mountSmall(join(dir, 'out'), 1);
      try {
        const store = open();
        expect(await store.take('node-1', piece(0, 'a'))).toBe(1);
        const ballast = fill(join(dir, 'out'), 8_192);
        const text = 'x'.repeat(20_000);
        await expect(store.take('node-1', piece(1, text))).rejects.toThrow(failing('DISK_FULL', 'cannot be written'));
        const here = await store.take('node-1', piece(0, ''));
        expect(here).toBe(stored().length);
        expect(here).toBeLessThan(20_001);
        rmSync(ballast);
        expect(await store.take('node-1', piece(here, text.slice(here - 1)))).toBe(20_001);
        expect(stored()).toBe(`a${text}`);
      } finally {
        unmountSmall();
      }
    },
  );
});
