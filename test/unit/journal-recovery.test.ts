import { describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { journalVersion } from '../../coordinator/journal/frame-format.ts';
import { Journal, type JournalSizes } from '../../coordinator/journal/journal.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';
import { turnsUntil } from '../helpers/turns.ts';

const sizes: JournalSizes = { segmentBytes: 300, groupBytesMax: 400, reserveBytes: 16 };
const dir = '/state/journal';

interface Opened {
  readonly journal: Journal;
  readonly records: readonly unknown[];
}

async function open(fileSystem: MemoryFileSystem, segmentBytes: number = sizes.segmentBytes): Promise<Opened> {
  const records: unknown[] = [];
  const fail = (what: unknown): never => {
    throw new Error(`unexpected: ${JSON.stringify(what)}`);
  };
  const journal = await Journal.open({
    dir: '/state',
    fileSystem,
    sizes: { ...sizes, segmentBytes },
    onRecord: (record, sequence) => {
      expect(sequence).toBe(records.length + 1);
      records.push(record);
    },
    onSynced: () => undefined,
    onStall: fail,
    onFatal: fail,
  });
  return { journal, records };
}

/** A journal of several segments; `groups` says how many records each sync took. */
async function written(
  groups: readonly number[],
  segmentBytes?: number,
): Promise<{ disk: MemoryFileSystem; records: unknown[] }> {
  const disk = new MemoryFileSystem();
  const { journal } = await open(disk, segmentBytes);
  journal.beginEpoch();
  const records: unknown[] = [];
  for (const count of groups) {
    for (let index = 0; index < count; index += 1) {
      const record = { index: records.length, text: 'ß{}"'.repeat(3 + (records.length % 4)) };
      records.push(record);
      journal.append(record);
    }
    await turnsUntil(() => journal.syncedSequence === records.length, 'the group');
  }
  await journal.close();
  return { disk, records };
}

function segments(disk: MemoryFileSystem): readonly string[] {
  return disk.paths().filter((path) => path.startsWith(`${dir}/segment-`));
}

/** The same files on a disk of their own, with `path` replaced. */
function copyWith(disk: MemoryFileSystem, path: string, bytes: Uint8Array): MemoryFileSystem {
  const copy = new MemoryFileSystem();
  for (const name of disk.paths()) copy.put(name, disk.content(name) as Buffer);
  copy.put(path, bytes);
  return copy;
}

/** Offsets at which a record's frame ends in a segment. */
function frameEnds(segment: Buffer): readonly number[] {
  const ends: number[] = [];
  for (let at = 28; at < segment.length;) {
    at += 20 + (segment.readUInt32LE(at) & 0x7fffffff);
    ends.push(at);
  }
  return ends;
}

const oneByOne = Array.from({ length: 11 }, () => 1);

describe('a torn tail', () => {
  it('is cut, at whichever byte the last segment ends, and appending goes on behind it', async () => {
    const { disk, records } = await written(oneByOne);
    const last = segments(disk).at(-1) as string;
    const whole = disk.content(last) as Buffer;
    const ends = frameEnds(whole);
    const before = records.length - ends.length;
    for (let length = 0; length <= whole.length; length += 1) {
      const torn = copyWith(disk, last, whole.subarray(0, length));
      const opened = await open(torn);
      const kept = ends.filter((end) => end <= length).length;
      expect(opened.records).toEqual(records.slice(0, before + kept));
      const goodBytes = length < 28 ? 0 : Math.max(28, ...ends.filter((end) => end <= length));
      expect(opened.journal.recovery).toMatchObject({ records: before + kept, bytesCut: length - goodBytes });
      opened.journal.append('behind it');
      await opened.journal.close();
      const again = await open(torn);
      expect(again.records).toEqual([...records.slice(0, before + kept), 'behind it']);
      await again.journal.close();
    }
  });

  it('may be zeros, or a group whose pages came out of order', async () => {
    const { disk, records } = await written([1, 1, 1, 5], 2_000);
    const last = segments(disk).at(-1) as string;
    const whole = disk.content(last) as Buffer;
    const ends = frameEnds(whole);
    const zeroed = copyWith(disk, last, Buffer.concat([whole, Buffer.alloc(100)]));
    const zeros = await open(zeroed);
    expect(zeros.records).toEqual(records);
    expect(zeros.journal.recovery.bytesCut).toBe(100);
    await zeros.journal.close();
    expect(zeroed.content(last)).toEqual(whole);

    const hole = Buffer.from(whole);
    const holeStart = ends.at(-5) as number;
    hole.fill(0, holeStart, ends.at(-3));
    const holed = await open(copyWith(disk, last, hole));
    expect(holed.records).toEqual(records.slice(0, records.length - 4));
    await holed.journal.close();
  });
});

describe('records that a killed process wrote and did not sync', () => {
  it('are on the disk once they were replayed', async () => {
    const { disk, records } = await written([1, 1]);
    const last = segments(disk).at(-1) as string;
    const whole = disk.content(last) as Buffer;
    disk.put(last, whole.subarray(0, frameEnds(whole).at(-2)));
    const file = await disk.open(last, 'update');
    await file.write([whole], 0);
    const replayed = await open(disk);
    expect(replayed.records).toEqual(records);
    disk.powerCut();
    const again = await open(disk);
    expect(again.records).toEqual(records);
    await again.journal.close();
  });
});

describe('damage', () => {
  it('at any byte before the last group stops the start; in the last frame it shortens the tail', async () => {
    const { disk, records } = await written(oneByOne);
    const names = segments(disk);
    expect(names.length).toBeGreaterThan(2);
    let refused = 0;
    let shortened = 0;
    for (const name of names) {
      const whole = disk.content(name) as Buffer;
      const isLast = name === names.at(-1);
      const lastFrame = frameEnds(whole).at(-2) ?? 28;
      for (let at = 0; at < whole.length; at += 1) {
        const flipped = Buffer.from(whole);
        flipped[at] = (flipped[at] as number) ^ (at % 2 === 0 ? 0x01 : 0x80);
        const damaged = copyWith(disk, name, flipped);
        const outcome = await open(damaged).catch((error: unknown) => error);
        if (outcome instanceof BatchError) {
          expect(['JOURNAL_CORRUPT', 'JOURNAL_VERSION']).toContain(outcome.code);
          expect(outcome.message).toContain(name);
          expect(damaged.content(name)).toEqual(flipped);
          refused += 1;
        } else {
          const opened = outcome as Opened;
          expect(isLast && at >= lastFrame, `byte ${at} of ${name} passed unseen`).toBe(true);
          expect(opened.records).toEqual(records.slice(0, -1));
          await opened.journal.close();
          shortened += 1;
        }
      }
    }
    expect(shortened).toBeGreaterThan(20);
    expect(refused).toBeGreaterThan(600);
  });

  it('in the middle of the last group is not mistaken for a torn write', async () => {
    const { disk } = await written([1, 5]);
    const last = segments(disk).at(-1) as string;
    const flipped = disk.content(last) as Buffer;
    const at = (frameEnds(flipped).at(-4) as number) + 30;
    flipped[at] = (flipped[at] as number) ^ 1;
    await expect(open(copyWith(disk, last, flipped))).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
  });

  it('may be a hole, when a later group stands behind it', async () => {
    const { disk } = await written([1, 3, 1], 2_000);
    const last = segments(disk).at(-1) as string;
    const holed = disk.content(last) as Buffer;
    const ends = frameEnds(holed);
    holed.fill(0, ends.at(-4), ends.at(-3));
    await expect(open(copyWith(disk, last, holed))).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
  });

  it('names segment and offset, and a frame that is lost, doubled or moved is damage too', async () => {
    const { disk } = await written(oneByOne);
    const first = segments(disk)[0] as string;
    const whole = disk.content(first) as Buffer;
    const [a, b, c] = [28, ...frameEnds(whole)] as [number, number, number];
    const changes = {
      lost: [whole.subarray(0, a), whole.subarray(b)],
      doubled: [whole.subarray(0, b), whole.subarray(a)],
      swapped: [whole.subarray(0, a), whole.subarray(b, c), whole.subarray(a, b), whole.subarray(c)],
    };
    for (const [change, pieces] of Object.entries(changes)) {
      const offset = change === 'doubled' ? b : a;
      await expect(open(copyWith(disk, first, Buffer.concat(pieces))), change).rejects.toMatchObject({
        code: 'JOURNAL_CORRUPT',
        message: expect.stringContaining(`${first} is damaged at byte ${offset}`) as string,
      });
    }
  });

  it('includes a segment that is missing, cut short, or not a segment', async () => {
    const { disk } = await written(oneByOne);
    const [first, second] = segments(disk) as [string, string];
    const missing = copyWith(disk, first, disk.content(first) as Buffer);
    await missing.remove(second);
    await expect(open(missing)).rejects.toMatchObject({ message: expect.stringContaining(second) as string });
    const whole = disk.content(second) as Buffer;
    await expect(open(copyWith(disk, second, whole.subarray(0, whole.length - 3)))).rejects.toMatchObject({
      code: 'JOURNAL_CORRUPT',
    });
    await expect(open(copyWith(disk, first, Buffer.from('predictions, not a journal, of 40 bytes ')))).rejects.toThrow(
      /damaged at byte 0/,
    );
  });

  it('is not what a newer release writes', async () => {
    const { disk } = await written([1]);
    const first = segments(disk)[0] as string;
    const newer = disk.content(first) as Buffer;
    newer.writeUInt32LE(journalVersion + 1, 8);
    await expect(open(copyWith(disk, first, newer))).rejects.toMatchObject({
      code: 'JOURNAL_VERSION',
      message: expect.stringContaining(`format ${journalVersion + 1}`) as string,
    });
  });

  it('leaves the state directory unlocked', async () => {
    const { disk } = await written(oneByOne);
    const first = segments(disk)[0] as string;
    const good = disk.content(first) as Buffer;
    const broken = copyWith(disk, first, good.subarray(0, 50));
    await expect(open(broken)).rejects.toThrow();
    broken.put(first, good);
    const opened = await open(broken);
    await opened.journal.close();
  });
});
