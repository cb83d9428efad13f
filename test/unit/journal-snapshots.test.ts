import { describe, expect, it } from 'vitest';
import type { BatchError, Failure } from '../../common/core/batch-error.ts';
import { Journal, type JournalSizes } from '../../coordinator/journal/journal.ts';
import type { SnapshotTaken } from '../../coordinator/journal/snapshots.ts';
import { failing } from '../helpers/failing.ts';
import { MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';
import { quietTurns, turnsUntil } from '../helpers/turns.ts';

const sizes: JournalSizes = { segmentBytes: 600, groupBytesMax: 400, reserveBytes: 16, snapshotBytes: 1_500 };
const dir = '/state/journal';

/** A coordinator whose whole state is the list of its records. */
class Recorder {
  records: string[] = [];
  readonly taken: SnapshotTaken[] = [];
  readonly refused: Failure[] = [];
  readonly fatal: BatchError[] = [];
  replayed = 0;
  journal!: Journal;

  static async open(fileSystem: MemoryFileSystem): Promise<Recorder> {
    const recorder = new Recorder();
    recorder.journal = await Journal.open({
      dir: '/state',
      fileSystem,
      sizes,
      onRecord: (record, sequence) => {
        recorder.records.push(record as string);
        recorder.replayed += 1;
        expect(sequence).toBe(recorder.records.length);
      },
      onSynced: () => undefined,
      onStall: () => undefined,
      onFatal: (error) => recorder.fatal.push(error),
      onSnapshot: (taken) => recorder.taken.push(taken),
      onSnapshotRefused: (failure) => recorder.refused.push(failure),
      image: {
        take: () => {
          const text = Buffer.from(JSON.stringify(recorder.records));
          return { bytes: text.length, pieces: [text.subarray(0, 100), text.subarray(100)] };
        },
        load: (content) => void (recorder.records = JSON.parse(content.toString()) as string[]),
      },
    });
    return recorder;
  }

  append(count = 1): void {
    for (let index = 0; index < count; index += 1) {
      const record = `record ${this.records.length} ${'x'.repeat(60)}`;
      this.records.push(record);
      this.journal.append(record);
    }
  }

  /** Appends until so many snapshots have been taken by this process. */
  async untilTaken(snapshots: number): Promise<void> {
    await turnsUntil(() => {
      if (this.taken.length < snapshots && this.journal.pendingBytes < 500) this.append();
      return this.taken.length >= snapshots;
    }, `snapshot ${snapshots}`);
  }

  async close(): Promise<readonly string[]> {
    await this.journal.close();
    return this.records;
  }
}

function names(disk: MemoryFileSystem, kind: string): readonly string[] {
  return disk
    .paths()
    .filter((path) => path.startsWith(`${dir}/${kind}`))
    .map((path) => path.slice(dir.length + 1));
}

async function withSnapshots(count: number): Promise<{ disk: MemoryFileSystem; records: readonly string[] }> {
  const disk = new MemoryFileSystem();
  const recorder = await Recorder.open(disk);
  await recorder.untilTaken(count);
  recorder.append(12);
  return { disk, records: await recorder.close() };
}

function flip(disk: MemoryFileSystem, name: string): void {
  const bytes = disk.content(`${dir}/${name}`) as Buffer;
  bytes[Math.floor(bytes.length / 2)] = (bytes[Math.floor(bytes.length / 2)] as number) ^ 1;
  disk.put(`${dir}/${name}`, bytes);
}

describe('snapshots of the journal', () => {
  it('are taken as it grows; two are kept, and no segment that lies before the older one', async () => {
    const disk = new MemoryFileSystem();
    const recorder = await Recorder.open(disk);
    await recorder.untilTaken(5);
    const { taken } = recorder;
    expect(names(disk, 'snapshot-').map((name) => Number(name.slice(9)))).toEqual(
      taken.slice(-2).map(({ sequence }) => sequence),
    );
    expect(taken.reduce((sum, { segmentsRemoved }) => sum + segmentsRemoved, 0)).toBe(
      Number(names(disk, 'segment-')[0]?.slice(8)) - 1,
    );
    expect(names(disk, 'segment-').length).toBeLessThan(20);
    recorder.append(3);
    const records = await recorder.close();

    const again = await Recorder.open(disk);
    expect(again.records).toEqual(records);
    expect(again.journal.recovery.snapshot).toBe(taken.at(-1)?.sequence);
    expect(again.replayed).toBe(records.length - again.journal.recovery.snapshot);
    await again.untilTaken(1);
    await again.close();
  });

  it('are begun where a segment ends, also when nothing was appended since', async () => {
    const disk = new MemoryFileSystem();
    const recorder = await Recorder.open(disk);
    await recorder.untilTaken(1);
    await turnsUntil(() => recorder.journal.syncedSequence === recorder.records.length, 'all records');
    const before = names(disk, 'segment-').length;
    const records = await recorder.close();
    const again = await Recorder.open(disk);
    expect(again.records).toEqual(records);
    again.append();
    expect(await again.close()).toHaveLength(records.length + 1);
    expect(names(disk, 'segment-').length).toBeGreaterThanOrEqual(before);
    const last = await Recorder.open(disk);
    expect(last.records).toHaveLength(records.length + 1);
    await last.close();
  });

  it('lose nothing that was acknowledged, whichever change of the disk was the last before a kill or a power cut', async () => {
    let loaded = 0;
    let leftovers = 0;
    for (let changes = 1; ; changes += 1) {
      const disk = new MemoryFileSystem();
      let changesLeft = changes;
      const recorder = await Recorder.open(disk);
      // A disk that refuses everything from now on: the process ends at the next operation.
      disk.fail = (operation, path) => {
        if (operation !== 'read') changesLeft -= 1;
        return changesLeft < 0 ? systemError('EIO', path) : null;
      };
      await turnsUntil(() => {
        if (recorder.fatal.length === 0 && recorder.journal.pendingBytes < 300) recorder.append();
        return recorder.fatal.length > 0 || recorder.taken.length >= 4;
      }, 'the end');
      await quietTurns();
      const isOver = recorder.fatal.length === 0;
      const acknowledged = recorder.journal.syncedSequence;
      disk.fail = () => null;
      if (changes % 2 === 0) disk.powerCut();
      leftovers += names(disk, 'snapshot-').filter((name) => name.endsWith('.tmp')).length;
      // Of this very process, which still lives.
      for (const path of disk.paths()) if (path.startsWith('/state/lock')) await disk.remove(path);
      const again = await Recorder.open(disk);
      expect(again.records.length).toBeGreaterThanOrEqual(acknowledged);
      again.records.forEach((record, index) => expect(record.startsWith(`record ${index} `)).toBe(true));
      expect(names(disk, 'snapshot-').filter((name) => name.endsWith('.tmp'))).toEqual([]);
      loaded += again.journal.recovery.snapshot > 0 ? 1 : 0;
      await again.close();
      if (isOver) break;
    }
    expect(loaded).toBeGreaterThan(50);
    expect(leftovers).toBeGreaterThan(0);
  });
});

describe('a snapshot that is damaged', () => {
  it('is passed over for the one before, at whichever byte, and kept under another name', async () => {
    const { disk, records } = await withSnapshots(3);
    const [older, newest] = names(disk, 'snapshot-');
    flip(disk, newest as string);
    const recorder = await Recorder.open(disk);
    expect(recorder.records).toEqual(records);
    expect(recorder.journal.recovery).toMatchObject({ snapshot: Number(older?.slice(9)), damaged: [newest] });
    expect(names(disk, 'damaged-')).toEqual([`damaged-${newest}`]);
    await recorder.untilTaken(1);
    expect(names(disk, 'snapshot-')[0]).toBe(older);
    const grown = await recorder.close();
    const again = await Recorder.open(disk);
    expect(again.records).toEqual(grown);
    await again.close();
  });

  it('stops the start when segments are gone and none is whole, and nothing is changed', async () => {
    const { disk } = await withSnapshots(3);
    for (const name of names(disk, 'snapshot-')) flip(disk, name);
    const before = disk.paths();
    await expect(Recorder.open(disk)).rejects.toEqual(
      failing('JOURNAL_CORRUPT', 'segment-000001 is damaged at byte 0: the segment is missing, and no snapshot can'),
    );
    expect(disk.paths()).toEqual(before);
  });

  it('is no loss while all segments are there', async () => {
    const { disk, records } = await withSnapshots(1);
    flip(disk, names(disk, 'snapshot-')[0] as string);
    const recorder = await Recorder.open(disk);
    expect(recorder.records).toEqual(records);
    expect(recorder.journal.recovery).toMatchObject({ snapshot: 0, records: records.length });
    await recorder.close();
  });

  it('is told when a segment behind it is missing', async () => {
    const { disk } = await withSnapshots(3);
    await disk.remove(`${dir}/${names(disk, 'segment-').at(-2)}`);
    await disk.syncDir(dir);
    await expect(Recorder.open(disk)).rejects.toEqual(failing('JOURNAL_CORRUPT', 'no snapshot can stand for it'));
  });
});

describe('a snapshot for which the disk', () => {
  it('has no room is told and taken later; records go on meanwhile', async () => {
    const disk = new MemoryFileSystem();
    const recorder = await Recorder.open(disk);
    let isFull = true;
    disk.fail = (operation, path) =>
      isFull && operation === 'write' && path.includes('/snapshot-') ? systemError('ENOSPC', path) : null;
    await turnsUntil(() => {
      if (recorder.journal.pendingBytes < 300) recorder.append();
      return recorder.refused.length >= 2;
    }, 'two refusals');
    expect(recorder.refused[0]).toMatchObject({ code: 'DISK_FULL' });
    expect(names(disk, 'snapshot-')).toEqual([]);
    isFull = false;
    await recorder.untilTaken(1);
    expect(recorder.fatal).toEqual([]);
    await recorder.close();
  });

  it('fails to sync ends the journal, as a failed sync of its own does', async () => {
    const disk = new MemoryFileSystem();
    const recorder = await Recorder.open(disk);
    disk.fail = (operation, path) =>
      operation === 'datasync' && path.includes('/snapshot-') ? systemError('EIO', path) : null;
    await turnsUntil(() => {
      if (recorder.fatal.length === 0 && recorder.journal.pendingBytes < 300) recorder.append();
      return recorder.fatal.length > 0;
    }, 'the end');
    expect(recorder.fatal).toMatchObject([{ code: 'STATE_UNWRITABLE' }]);
    await recorder.close();
  });
});
