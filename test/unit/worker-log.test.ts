import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import { createLog, type LogLevel } from '../../common/io/log.ts';
import { HostLog } from '../../worker/host-log.ts';

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
  const open = (): HostLog =>
    new HostLog({ stdoutPath: join(dir, 'l', 'out.txt'), stderrPath: join(dir, 'l', 'err.txt'), log });
  const out = (): string => readFileSync(join(dir, 'l', 'out.txt'), 'utf8');

  it('is appended to by one host after the other, and is not made for one that prints nothing', async () => {
    for (const text of ['one\n', 'two\n']) {
      const hostLog = open();
      hostLog.append('stdout', Buffer.from(text));
      await hostLog.close();
    }
    expect(out()).toBe('one\ntwo\n');
    expect(() => readFileSync(join(dir, 'l', 'err.txt'))).toThrow('ENOENT');
  });

  it('is bounded, and says so once', async () => {
    const hostLog = open();
    const chunk = Buffer.alloc(1_048_576, 'x');
    // All at once: what the disk has not taken is bounded as well.
    for (let n = 0; n < limits.hostLogBytesMax / chunk.length + 5; n += 1) hostLog.append('stdout', chunk);
    await hostLog.close();
    expect(out().length).toBeLessThan(limits.hostLogBytesMax + 200);
    expect(out().match(/the rest is not kept/g)).toHaveLength(1);
  });

  it('that cannot be written is given up with one line, and scoring goes on', async () => {
    writeFileSync(join(dir, 'l'), 'a file where the folder should be');
    const hostLog = open();
    for (let n = 0; n < 3; n += 1) hostLog.append('stdout', Buffer.from('x'));
    await hostLog.close();
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('cannot be written');
  });
});
