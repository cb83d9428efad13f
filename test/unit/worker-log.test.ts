import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import { createLog, type LogLevel } from '../../common/io/log.ts';
import { HostLog, spansBetween } from '../../worker/host-log.ts';

const clock = { monotonic: () => monotonicMs(0), wall: () => Date.UTC(2026, 10, 21, 9, 30, 12, 345) };

function record(format: 'json' | 'text', level: LogLevel) {
  const lines: string[] = [];
  return { lines, log: createLog({ write: (line) => lines.push(line), format, level, clock }) };
}

describe('the log', () => {
  it('writes one JSON object a line', () => {
    const { lines, log } = record('json', 'info');
    log.with({ node: 'n1' }).warn('not connected\nagain', { code: 'COORDINATOR_UNREACHABLE', tries: 2 });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.endsWith('\n')).toBe(true);
    expect(lines[0]?.trimEnd()).not.toContain('\n');
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      time: '2026-11-21T09:30:12.345Z',
      level: 'warn',
      message: 'not connected\nagain',
      node: 'n1',
      code: 'COORDINATOR_UNREACHABLE',
      tries: 2,
    });
  });

  it('writes one readable line for a terminal', () => {
    const { lines, log } = record('text', 'debug');
    log.info('joined', { epoch: 3, reason: 'two words' });
    log.error('broken\nhere', { code: 'INTERNAL' });
    expect(lines).toEqual([
      '09:30:12 joined epoch=3 reason="two words"\n',
      '09:30:12 error: broken\\nhere code=INTERNAL\n',
    ]);
  });

  it('drops what is below its level', () => {
    const { lines, log } = record('text', 'warn');
    for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level](level);
    expect(lines).toHaveLength(2);
  });
});

describe('the log of a scoring host', () => {
  let dir: string;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'batchmill-log-'))));
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const { lines, log } = record('text', 'debug');
  const open = (bytesMax: number = limits.hostLogBytesMax): HostLog =>
    new HostLog({ dir, process: 7, bytesMax, mask: null, log });
  const text = (path: string): string => readFileSync(join(dir, path), 'utf8');
  const out = (): string => text('user/stdout/process007.stdout.txt');

  it('bears the number of its process, and is not made for one that prints nothing', async () => {
    const hostLog = open();
    hostLog.append('stdout', Buffer.from('one\n'));
    await hostLog.close();
    expect(out()).toBe('one\n');
    expect(readdirSync(join(dir, 'user'))).toEqual(['stdout']);
  });

  it('is cut at its bound, and ends with how much was dropped', async () => {
    const hostLog = open(1_000);
    hostLog.append('stdout', Buffer.alloc(900, 'x'));
    for (let n = 0; n < 5; n += 1) hostLog.append('stdout', Buffer.alloc(300, 'y'));
    hostLog.append('stderr', Buffer.from('still here'));
    await hostLog.close();
    expect(out()).toBe(
      `${'x'.repeat(900)}${'y'.repeat(100)}\n[batchmill: the log is cut here; 1000 bytes are kept, 1400 more were dropped]\n`,
    );
    expect(text('user/stderr/process007.stderr.txt')).toBe('still here');
  });

  it('holds back no more than a bound of bytes that the disk has not taken, and drops the rest', async () => {
    const hostLog = open(1_073_741_824);
    const chunk = Buffer.alloc(1_048_576, 'x');
    // All in one turn: the disk gets no chance to take any of it.
    for (let n = 0; n < 200; n += 1) hostLog.append('stdout', chunk);
    const held = hostLog.place.stdout;
    expect(held).toBeLessThanOrEqual(limits.spoolMemoryBytesMax + chunk.length);
    await hostLog.close();
    expect(out()).toContain(`${held} bytes are kept, ${200 * chunk.length - held} more were dropped`);
  });

  it('says of each mini-batch which bytes were printed meanwhile', async () => {
    const hostLog = open();
    hostLog.append('stdout', Buffer.from('init\n'));
    const from = hostLog.place;
    hostLog.append('stdout', Buffer.from('scoring\n'));
    hostLog.append('stderr', Buffer.from('hm\n'));
    const printed = spansBetween(from, hostLog.place);
    expect(printed).toEqual({ stdout: [5, 13], stderr: [0, 3] });
    const told = {
      first: 20,
      count: 10,
      token: '1.5',
      attempt: 2,
      status: 'RUN_EXCEPTION',
      start: 'then',
      ...printed,
    } as const;
    hostLog.record({
      ...told,
      run_seconds: 0.5,
      cpu_seconds: 0.31,
      rows: 0,
      failed: 10,
      code: 'SCORER_FAILED',
      message: 'ValueError: no',
    });
    hostLog.error(
      'files 20 to 29',
      { code: 'SCORER_FAILED', message: 'ValueError: no', detail: 'Traceback\n' },
      'then',
    );
    await hostLog.close();
    expect(JSON.parse(text('sys/mini_batches/process007.jsonl'))).toMatchObject({ ...told, code: 'SCORER_FAILED' });
    expect(text('sys/node/process007.txt')).toBe(
      'then RUN_EXCEPTION: files 20 to 29, try 2 (lease 1.5), 0.5 s (0.31 s of processor time), 0 rows, 10 failed, SCORER_FAILED: ValueError: no\n',
    );
    expect(text('user/error/process007.txt')).toBe(
      'then files 20 to 29 failed: SCORER_FAILED: ValueError: no\nTraceback\n\n',
    );
  });

  it('that cannot be written is given up with one line, and scoring goes on', async () => {
    writeFileSync(join(dir, 'user'), 'a file where the folder should be');
    const hostLog = open();
    for (let n = 0; n < 3; n += 1) hostLog.append('stdout', Buffer.from('x'));
    await hostLog.close();
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('cannot be written');
  });
});
