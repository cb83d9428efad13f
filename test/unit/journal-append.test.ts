import { describe, expect, it } from 'vitest';
import type { BatchError, Failure } from '../../common/core/batch-error.ts';
import { Journal, type JournalOptions, type JournalSizes } from '../../coordinator/journal/journal.ts';
import { matching } from '../helpers/matching.ts';
import { MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';
import { quietTurns, turnsUntil } from '../helpers/turns.ts';

const sizes: JournalSizes = { segmentBytes: 4_096, groupBytesMax: 1_024, reserveBytes: 2_048 };

interface Seen {
  readonly records: unknown[];
  readonly synced: number[];
  readonly stalls: (Failure | null)[];
  readonly fatal: BatchError[];
}

async function openJournal(
  fileSystem: MemoryFileSystem,
  more: Partial<JournalOptions> = {},
): Promise<{ journal: Journal; seen: Seen }> {
  const seen: Seen = { records: [], synced: [], stalls: [], fatal: [] };
  const journal = await Journal.open({
    dir: '/state',
    fileSystem,
    sizes,
    delay: async () => {
      await new Promise<void>((resolve) => setImmediate(resolve));
    },
    onRecord: (record) => seen.records.push(record),
    onSynced: (sequence) => seen.synced.push(sequence),
    onStall: (failure) => seen.stalls.push(failure),
    onFatal: (error) => seen.fatal.push(error),
    ...more,
  });
  return { journal, seen };
}

describe('appending', () => {
  it('numbers records from 1 and reports them only once they are on the disk', async () => {
    const disk = new MemoryFileSystem();
    const { journal, seen } = await openJournal(disk);
    expect([journal.append({ a: 1 }), journal.append({ a: 2 })]).toEqual([1, 2]);
    expect(journal.syncedSequence).toBe(0);
    expect(seen.synced).toEqual([]);
    await turnsUntil(() => journal.syncedSequence === 2, 'two records');
    expect(seen.synced).toEqual([2]);
    await journal.close();
  });

  it('takes 1,000 records of one turn with one write and one sync', async () => {
    const disk = new MemoryFileSystem();
    const { journal } = await openJournal(disk, { sizes: { ...sizes, segmentBytes: 1e6, groupBytesMax: 524_288 } });
    journal.append('first, makes the segment');
    await turnsUntil(() => journal.syncedSequence === 1, 'the first record');
    const before = { ...disk.counts };
    for (let index = 0; index < 1_000; index += 1) journal.append({ kind: 'Committed', batch: index });
    await turnsUntil(() => journal.syncedSequence === 1_001, 'all records');
    expect(disk.counts.datasync - before.datasync).toBe(1);
    expect(disk.counts.write - before.write).toBe(1);
    expect(disk.counts.syncDir - before.syncDir).toBe(0);
    await journal.close();
  });

  it('gathers what comes while a sync is under way', async () => {
    const disk = new MemoryFileSystem();
    const { journal } = await openJournal(disk, { sizes: { ...sizes, segmentBytes: 1e6, groupBytesMax: 524_288 } });
    journal.append(0);
    await turnsUntil(() => disk.counts.write > 2, 'the first write');
    const before = disk.counts.datasync;
    for (let index = 0; index < 64; index += 1) journal.append(index);
    await turnsUntil(() => journal.syncedSequence === 65, 'all records');
    expect(disk.counts.datasync - before).toBeLessThanOrEqual(2);
    await journal.close();
  });

  it('cuts groups at their limit, lets a larger record have its own, and fills segments in order', async () => {
    const disk = new MemoryFileSystem();
    const { journal, seen } = await openJournal(disk);
    const records = Array.from({ length: 200 }, (_, index) => ({ index, text: 'é€𝄞'.repeat(index % 40) }));
    for (const record of records) journal.append(record);
    journal.append('x'.repeat(10_000));
    await turnsUntil(() => journal.syncedSequence === 201, 'all records');
    expect(seen.synced.length).toBeGreaterThan(10);
    expect(seen.synced).toEqual([...seen.synced].sort((a, b) => a - b));
    await journal.close();
    expect(disk.paths().filter((path) => path.includes('segment')).length).toBeGreaterThan(4);

    const again = await openJournal(disk);
    expect(again.seen.records).toEqual([...records, 'x'.repeat(10_000)]);
    expect(again.journal.recovery).toMatchObject({ records: 201, bytesCut: 0 });
    expect(again.journal.append('next')).toBe(202);
    await again.journal.close();
  });

  it('has a new segment and its name on the disk before the first record in it', async () => {
    const disk = new MemoryFileSystem();
    const { journal } = await openJournal(disk);
    const from = disk.log.length;
    journal.append('one');
    await turnsUntil(() => journal.syncedSequence === 1, 'one');
    const segment = '/state/journal/segment-000001';
    expect(disk.log.slice(from)).toEqual([
      `open ${segment}`,
      `write ${segment}`,
      `datasync ${segment}`,
      'syncDir /state/journal',
      `write ${segment}`,
      `datasync ${segment}`,
    ]);
    await journal.close();
  });

  it('writes what is pending when it is closed, also what onSynced appended', async () => {
    const disk = new MemoryFileSystem();
    let journal: Journal | null = null;
    const opened = await openJournal(disk, {
      onSynced: (sequence) => {
        if (sequence === 1) journal?.append('second');
      },
    });
    journal = opened.journal;
    journal.append('first');
    await turnsUntil(() => opened.journal.syncedSequence === 2, 'both');
    journal.append('third');
    await journal.close();
    const again = await openJournal(disk);
    expect(again.seen.records).toEqual(['first', 'second', 'third']);
    expect(() => opened.journal.append('late')).toThrow(/closed/);
    await again.journal.close();
  });

  it('counts epochs through restarts, once a record carries them', async () => {
    const disk = new MemoryFileSystem();
    for (const epoch of [1, 2, 3]) {
      const { journal } = await openJournal(disk);
      expect(journal.beginEpoch()).toBe(epoch);
      journal.append({ kind: 'EpochBegan', epoch });
      await journal.close();
    }
  });

  it('has synced what it acknowledged, whichever operation the power fails at', async () => {
    let rounds = 0;
    for (let changes = 1; ; changes += 1) {
      const disk = new MemoryFileSystem();
      const { journal, seen } = await openJournal(disk);
      disk.changesLeft = changes;
      disk.fail = () => (disk.changesLeft <= 0 ? systemError('EIO', 'killed') : null);
      for (let index = 0; index < 60; index += 1) {
        journal.append({ index, text: 'abcdefgh'.repeat(8) });
        if (index % 10 === 9) await quietTurns();
      }
      const isDone = seen.fatal.length === 0;
      disk.fail = () => null;
      disk.powerCut();
      const again = await openJournal(disk, {});
      const acknowledged = seen.synced.at(-1) ?? 0;
      expect(again.seen.records.length).toBeGreaterThanOrEqual(acknowledged);
      expect(again.seen.records).toEqual(
        Array.from({ length: again.seen.records.length }, (_, index) => ({ index, text: 'abcdefgh'.repeat(8) })),
      );
      await again.journal.close();
      rounds += 1;
      if (isDone) break;
    }
    expect(rounds).toBeGreaterThan(15);
  });
});

describe('a full disk', () => {
  it('says so, gives up its reserve, acknowledges nothing that is not there, and ends the stall with the reserve back', async () => {
    const disk = new MemoryFileSystem();
    const { journal, seen } = await openJournal(disk);
    journal.append('one');
    await turnsUntil(() => journal.syncedSequence === 1, 'one');
    disk.capacityBytes = disk.usedBytes + 10;

    journal.append({ text: 'y'.repeat(500) });
    await turnsUntil(() => journal.syncedSequence === 2, 'the record that the reserve makes room for');
    expect(seen.stalls.map((failure) => failure?.code)).toEqual(['DISK_FULL']);
    expect(seen.stalls[0]?.message).toMatch(/\/state\/journal needs 2048 bytes in reserve, 10 are free/);
    expect(disk.content('/state/journal/reserve')).toBeNull();

    for (let index = 0; index < 10; index += 1) journal.append({ text: 'z'.repeat(500) });
    await quietTurns();
    const stuckAt = journal.syncedSequence;
    expect(stuckAt).toBeLessThan(12);
    expect(journal.pendingBytes).toBeGreaterThan(0);
    await quietTurns();
    expect(journal.syncedSequence).toBe(stuckAt);
    expect(seen.stalls.length).toBe(1);

    disk.capacityBytes += 1_000_000;
    await turnsUntil(() => seen.stalls.length === 2, 'the end of the stall');
    expect(seen.stalls[1]).toBeNull();
    await turnsUntil(() => journal.syncedSequence === 12, 'all records');
    expect(disk.content('/state/journal/reserve')?.length).toBe(2_048);
    expect(seen.fatal).toEqual([]);
    await journal.close();
    const again = await openJournal(disk);
    expect(again.journal.recovery).toMatchObject({ records: 12, bytesCut: 0 });
    await again.journal.close();
  });

  it('opens on a full disk, stalled from the start', async () => {
    const disk = new MemoryFileSystem();
    const first = await openJournal(disk);
    first.journal.append('one');
    await first.journal.close();
    await disk.remove('/state/journal/reserve');
    disk.capacityBytes = disk.usedBytes + 200;
    const { journal, seen } = await openJournal(disk);
    await turnsUntil(() => seen.stalls.length === 1, 'the stall');
    expect(seen.records).toEqual(['one']);
    disk.capacityBytes += 10_000;
    await turnsUntil(() => seen.stalls.length === 2, 'its end');
    await journal.close();
  });

  it('can be closed while it waits; what was never acknowledged is not there afterwards', async () => {
    const disk = new MemoryFileSystem();
    const { journal, seen } = await openJournal(disk);
    journal.append('one');
    await turnsUntil(() => journal.syncedSequence === 1, 'one');
    disk.capacityBytes = disk.usedBytes;
    for (let index = 0; index < 20; index += 1) journal.append('w'.repeat(900));
    await turnsUntil(() => seen.stalls.length === 1, 'the stall');
    await quietTurns();
    await journal.close();
    const acknowledged = seen.synced.at(-1) ?? 0;
    disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    const again = await openJournal(disk);
    expect(again.seen.records.length).toBe(acknowledged);
    expect(again.journal.recovery.bytesCut).toBe(0);
    await again.journal.close();
  });
});

describe('a broken disk', () => {
  for (const operation of ['write', 'datasync', 'truncate'] as const) {
    it(`ends everything when ${operation} fails, and acknowledges nothing more`, async () => {
      const disk = new MemoryFileSystem();
      const { journal, seen } = await openJournal(disk);
      journal.append('one');
      await turnsUntil(() => journal.syncedSequence === 1, 'one');
      disk.fail = (found, path) => {
        if (operation === 'truncate' && found === 'write') return systemError('ENOSPC', path);
        return found === operation ? systemError(operation === 'datasync' ? 'ENOSPC' : 'EIO', path) : null;
      };
      journal.append('two');
      await turnsUntil(() => seen.fatal.length === 1, 'the end');
      disk.fail = () => null;
      expect(journal.append('three')).toBe(3);
      await quietTurns();
      expect(seen.fatal.map((error) => error.code)).toEqual(['STATE_UNWRITABLE']);
      expect(seen.fatal[0]?.message).toMatch(/\/state\/journal cannot be written: E(IO|NOSPC)/);
      expect(seen.synced).toEqual([1]);
      await journal.close();
    });
  }

  it('refuses a state directory that cannot be written', async () => {
    const disk = new MemoryFileSystem();
    disk.fail = (operation, path) => (operation === 'makeDir' ? systemError('EROFS', path) : null);
    await expect(openJournal(disk)).rejects.toMatchObject({
      code: 'STATE_UNWRITABLE',
      message: matching(/\/state.*EROFS/),
    });
  });
});
