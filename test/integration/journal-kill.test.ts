/** The journal on a real disk, written by a process that is killed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compiledFile } from '../../common/io/package-files.ts';
import { Journal } from '../../coordinator/journal/journal.ts';

/** Appends for ever and prints each sequence that it was told is on the disk. */
const writer = `
  const { Journal } = await import(process.argv[1]);
  const end = (what) => { console.error(what); process.exit(9); };
  let journal = null;
  const more = () => { for (let index = 0; index < 8; index += 1) journal.append({ pid: process.pid, text: 'x'.repeat(200) }); };
  journal = await Journal.open({
    dir: process.argv[2], onRecord: () => undefined, onStall: end, onFatal: end,
    onSynced: (sequence) => { process.stdout.write(sequence + '\\n'); more(); },
  });
  more();
`;

let dir = '';
const children: ChildProcess[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-journal-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(dir, { recursive: true });
});

function start(): {
  readonly child: ChildProcess;
  readonly until: (sequence: number) => Promise<number>;
  readonly ended: Promise<number>;
} {
  const file = compiledFile('coordinator', 'journal', 'journal.js');
  const child = spawn(process.execPath, ['--input-type=module', '-e', writer, file, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let last = 0;
  const waiting: { sequence: number; resolve: (last: number) => void }[] = [];
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    last = Number(line);
    for (const each of waiting) if (last >= each.sequence) each.resolve(last);
  });
  return {
    child,
    until: (sequence) => new Promise((resolve) => waiting.push({ sequence, resolve })),
    // `close` comes when also the last line has been read.
    ended: new Promise((resolve) => child.once('close', () => resolve(last))),
  };
}

async function open(records: unknown[]): Promise<Journal> {
  const fail = (what: unknown): never => {
    throw new Error(JSON.stringify(what));
  };
  return Journal.open({
    dir,
    onRecord: (record) => records.push(record),
    onSynced: () => undefined,
    onStall: fail,
    onFatal: fail,
  });
}

describe('a coordinator that is killed', () => {
  it('leaves every record that it was told is on the disk, and a lock that the next start takes over', async () => {
    let acknowledged = 0;
    for (let round = 1; round <= 3; round += 1) {
      const { child, until, ended } = start();
      await until(acknowledged + 200);
      await expect(open([])).rejects.toMatchObject({ code: 'STATE_LOCKED' });
      expect(JSON.parse(await readFile(join(dir, 'lock'), 'utf8'))).toMatchObject({ pid: child.pid });
      child.kill('SIGKILL');
      const told = await ended;
      expect(told).toBeGreaterThanOrEqual(acknowledged + 200);
      const records: unknown[] = [];
      const journal = await open(records);
      expect(records.length).toBeGreaterThanOrEqual(told);
      acknowledged = records.length;
      await journal.close();
    }
  });
});
