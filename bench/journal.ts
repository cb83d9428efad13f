/**
 * Commits a second through a durable journal on the disk that `BENCH_DIR` (default: the system's temporary folder) lies on.
 * Each of `callers` appends a record, waits until it is on the disk, and appends the next. One JSON line per number of callers;
 * `journal-replay` is the reading of all of them at the next start.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../common/io/clock.ts';
import { Journal } from '../coordinator/journal/journal.ts';

const measureMs = 2_000;
const record = {
  kind: 'Committed',
  job: 'digits-20261121-093012-k3f9',
  batch: 123_456,
  token: { epoch: 7, counter: 12 },
  node: 'node-1',
  place: { offset: 1_234_567, length: 512, crc32: 123_456_789 },
  rows: 10,
};

async function openJournal(dir: string, onSynced: (sequence: number) => void): Promise<Journal> {
  const end = (what: unknown): never => {
    throw new Error(JSON.stringify(what));
  };
  return Journal.open({ dir, onRecord: () => undefined, onSynced, onStall: end, onFatal: end });
}

async function commitsPerSecond(dir: string, callers: number): Promise<{ perSecond: number; perSync: number }> {
  let commits = 0;
  let syncs = 0;
  let done = 0;
  let isOver = false;
  const journal = await openJournal(dir, (sequence) => {
    syncs += 1;
    const finished = sequence - done;
    done = sequence;
    commits += finished;
    for (let caller = 0; caller < finished && !isOver; caller += 1) journal.append(record);
  });
  done = journal.syncedSequence;
  const start = systemClock.monotonic();
  for (let caller = 0; caller < callers; caller += 1) journal.append(record);
  await new Promise((resolve) => setTimeout(resolve, measureMs));
  isOver = true;
  const seconds = (systemClock.monotonic() - start) / 1_000;
  await journal.close();
  return { perSecond: Math.round(commits / seconds), perSync: Math.round(commits / syncs) };
}

const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
try {
  for (const callers of [1, 64, 512]) {
    console.log(JSON.stringify({ bench: 'journal', callers, ...(await commitsPerSecond(dir, callers)) }));
  }
  const start = systemClock.monotonic();
  const journal = await openJournal(dir, () => undefined);
  const seconds = (systemClock.monotonic() - start) / 1_000;
  const { records } = journal.recovery;
  console.log(JSON.stringify({ bench: 'journal-replay', records, perSecond: Math.round(records / seconds) }));
  await journal.close();
} finally {
  await rm(dir, { recursive: true, force: true });
}
