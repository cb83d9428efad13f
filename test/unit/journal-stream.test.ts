/** A journal that is kept in a stream as well: what was acknowledged is in both, whoever leads and wherever a process was killed. */
import { basename } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import { Journal, type JournalOptions } from '../../coordinator/journal/journal.ts';
import { findSnapshots, snapshotName } from '../../coordinator/journal/snapshot-file.ts';
import { failing } from '../helpers/failing.ts';
import { MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';
import { MemoryStream, noMessages, type MemoryMessages } from '../helpers/memory-stream.ts';
import { quietTurns, turnsUntil } from '../helpers/turns.ts';

const sizes = { segmentBytes: 4_096, groupBytesMax: 1_024, reserveBytes: 0, snapshotBytes: 300 };

interface Life {
  readonly journal: Journal;
  readonly records: unknown[];
  synced: number;
  readonly stalls: (Failure | null)[];
  readonly fatal: BatchError[];
  /** As a coordinator does: what it knows first, then the journal. */
  append(record: unknown): void;
}

async function begin(disk: MemoryFileSystem, stream: MemoryStream, more: Partial<JournalOptions> = {}): Promise<Life> {
  const life = { records: [] as unknown[], synced: 0, stalls: [] as (Failure | null)[], fatal: [] as BatchError[] };
  const journal = await Journal.open({
    ...{ dir: '/state', fileSystem: disk, sizes, stream },
    delay: () => new Promise<void>((resolve) => setImmediate(resolve)),
    onRecord: (record) => life.records.push(record),
    image: {
      take: () => {
        const bytes = Buffer.from(JSON.stringify(life.records));
        return { bytes: bytes.length, pieces: [bytes] };
      },
      load: (content) => void life.records.push(...(JSON.parse(content.toString()) as unknown[])),
    },
    onSynced: (sequence) => void (living.synced = sequence),
    onStall: () => undefined,
    onStreamStall: (failure) => void life.stalls.push(failure),
    onFatal: (error) => life.fatal.push(error),
    ...more,
  });
  const living: Life = {
    ...{ ...life, journal, synced: journal.syncedSequence },
    append: (record) => {
      life.records.push(record);
      journal.append(record);
    },
  };
  return living;
}

/** A disk with three records, a group each, and a stream with the first: its server acknowledged before it had synced. */
async function lossy(): Promise<{ readonly content: MemoryMessages; readonly disk: MemoryFileSystem }> {
  const content = noMessages();
  const disk = new MemoryFileSystem();
  const life = await begin(disk, new MemoryStream(content));
  for (const record of ['a', 'b', 'c']) {
    life.append(record);
    await quietTurns();
  }
  await life.journal.close();
  // Its fence, and the first group.
  content.messages.splice(2);
  return { content, disk };
}

/** Large ones, so that every few of them have a snapshot behind them. */
async function appendUpTo(life: Life, last: number): Promise<void> {
  for (let number = life.synced + 1; number <= last; number += 1) {
    life.append(`${number}`.padEnd(400));
    await turnsUntil(() => life.synced === number, `record ${number}`);
    await quietTurns();
  }
}

/** A disk that began with a snapshot of its stream, the only one here, and has one record behind it. */
async function fetched() {
  const content = noMessages();
  const first = await begin(new MemoryFileSystem(), new MemoryStream(content));
  await appendUpTo(first, 9);
  await first.journal.close();
  const disk = new MemoryFileSystem();
  const next = await begin(disk, new MemoryStream(content), { sizes: { ...sizes, snapshotBytes: 100_000 } });
  await appendUpTo(next, 10);
  await next.journal.close();
  const [newest = 0, ...others] = findSnapshots(await disk.list('/state/journal')).sequences;
  expect(others).toEqual([]);
  return { disk, content, snapshot: `/state/journal/${snapshotName(newest)}` };
}

/** Takes records as ever, and no snapshots any more. */
function withoutSnapshots(content: MemoryMessages): MemoryStream {
  const stream = new MemoryStream(content);
  stream.putSnapshot = () => Promise.reject(new BatchError('JOURNAL_STREAM_UNREACHABLE', 'no answer'));
  return stream;
}

const many = 20;

interface BeyondSnapshots {
  readonly disk: MemoryFileSystem;
  readonly content: MemoryMessages;
  /** The stream when the disk had not gone on yet. */
  readonly earlier: MemoryMessages;
  /** Record of the older snapshot on the disk. */
  readonly older: number;
}

/** A disk whose segments begin behind the newest snapshot of its stream, which has lost its first messages to it. */
async function beyondSnapshots(): Promise<BeyondSnapshots> {
  const [disk, content] = [new MemoryFileSystem(), noMessages()];
  const first = await begin(disk, new MemoryStream(content));
  await appendUpTo(first, 4);
  await first.journal.close();
  const earlier = { ...content, messages: [...content.messages], snapshots: new Map(content.snapshots) };
  const next = await begin(disk, withoutSnapshots(content));
  await appendUpTo(next, many);
  await next.journal.close();
  const older = Math.min(...findSnapshots(await disk.list('/state/journal')).sequences);
  expect(content.first).toBeGreaterThan(1);
  expect(older).toBeGreaterThan(Math.max(...content.snapshots.keys()));
  return { disk, content, earlier, older };
}

describe('a journal with a stream', () => {
  it('acknowledges what is on the disk and in the stream, and nothing before', async () => {
    const stream = new MemoryStream();
    let isAway = false;
    stream.fault = () => (isAway ? 'away' : 'none');
    let now = 0;
    const clock = { monotonic: () => (now += 1_000), wall: () => 0 } as unknown as NonNullable<JournalOptions['clock']>;
    const life = await begin(new MemoryFileSystem(), stream, { clock });
    isAway = true;
    life.append('a');
    await turnsUntil(() => life.stalls.length === 1, 'the stall');
    expect([life.stalls[0]?.code, life.synced]).toEqual(['JOURNAL_STREAM_STALLED', 0]);
    isAway = false;
    await turnsUntil(() => life.synced === 1, 'the record');
    expect(life.stalls.at(-1)).toBeNull();
    await life.journal.close();
  });

  it('is whole on a disk that has nothing of it, or only its beginning', async () => {
    const stream = new MemoryStream();
    const [first, empty] = [new MemoryFileSystem(), new MemoryFileSystem()];
    const records = Array.from({ length: 100 }, (_, index) => ({ index, text: 'x'.repeat(index * 3) }));
    for (const [at, disk] of [first, empty, first, new MemoryFileSystem()].entries()) {
      const life = await begin(disk, stream);
      expect(life.records).toEqual(records.slice(0, at * 25));
      for (const record of records.slice(at * 25, at * 25 + 25)) life.append(record);
      await turnsUntil(() => life.synced === at * 25 + 25, 'the records');
      await quietTurns();
      await life.journal.close();
    }
    // Two snapshots are beside the stream, and what they cover is gone from it.
    expect([(await stream.snapshots()).length, (await stream.ends()).first]).toEqual([
      2,
      expect.toSatisfy((at) => at > 1),
    ]);
  });

  it('ends when another coordinator has appended, and follows it at its next start', async () => {
    const stream = new MemoryStream();
    const [disk, other] = [new MemoryFileSystem(), new MemoryFileSystem()];
    const old = await begin(disk, stream);
    old.append('one');
    await turnsUntil(() => old.synced === 1, 'the first record');
    const next = await begin(other, stream);
    next.journal.beginEpoch();
    next.append('two');
    await turnsUntil(() => next.synced === 2, 'the other record');
    old.append('lost');
    await turnsUntil(() => old.fatal.length === 1, 'the end');
    expect([old.fatal[0]?.code, old.synced]).toEqual(['JOURNAL_FENCED', 1]);
    await old.journal.close();
    const again = await begin(disk, stream);
    expect(again.records).toEqual(['one', 'two']);
    await again.journal.close();
    await next.journal.close();
  });

  it('tells two apart that have read the same and append the same', async () => {
    const stream = new MemoryStream();
    const lives = await Promise.allSettled([
      begin(new MemoryFileSystem(), stream),
      begin(new MemoryFileSystem(), stream),
    ]);
    const begun = lives.flatMap((life) => (life.status === 'fulfilled' ? [life.value] : []));
    for (const life of begun) {
      life.journal.beginEpoch();
      life.append('the same');
    }
    await turnsUntil(() => begun.some(({ synced }) => synced === 1), 'the record of one');
    await quietTurns();
    expect(begun.filter(({ synced }) => synced === 1).length).toBe(1);
    const refused = lives.flatMap((life) => (life.status === 'rejected' ? [life.reason as BatchError] : []));
    expect([...refused, ...begun.flatMap(({ fatal }) => fatal)].map(({ code }) => code)).toEqual(['JOURNAL_FENCED']);
    for (const { journal } of begun) await journal.close();
  });

  it('follows the one that leads, and goes on where it ended', async () => {
    const stream = new MemoryStream();
    const old = await begin(new MemoryFileSystem(), stream);
    let lead = (): void => undefined;
    const turn = new Promise<void>((resolve) => (lead = resolve));
    const seen: unknown[] = [];
    const following = begin(new MemoryFileSystem(), stream, {
      untilLeading: () => turn,
      onRecord: (record) => void seen.push(record),
    });
    for (const record of ['a', 'b', 'c']) old.append(record);
    await turnsUntil(() => seen.length === 3, 'the records while it follows');
    old.append('d');
    await turnsUntil(() => old.synced === 4, 'the last record');
    lead();
    const next = await following;
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
    next.journal.beginEpoch();
    next.append('e');
    await turnsUntil(() => next.synced === 5, 'its own record');
    old.append('f');
    await turnsUntil(() => old.fatal.length === 1, 'the end of the old one');
    expect(old.fatal[0]?.code).toBe('JOURNAL_FENCED');
    await Promise.all([old.journal.close(), next.journal.close()]);
  });

  it('leaves the one that leads alone when its own turn went by while it slept', async () => {
    const stream = new MemoryStream();
    const leader = await begin(new MemoryFileSystem(), stream);
    const late = begin(new MemoryFileSystem(), stream, {
      untilLeading: () => Promise.resolve(),
      requireLeading: () => {
        throw new BatchError('NOT_LEADING', 'it slept');
      },
    });
    await expect(late).rejects.toThrow(failing('NOT_LEADING', 'it slept'));
    leader.append('a');
    await turnsUntil(() => leader.synced === 1, 'the record');
    expect(leader.fatal).toEqual([]);
    await leader.journal.close();
  });

  it('takes the newer snapshot when the one that it was about to read is replaced', async () => {
    const content = noMessages();
    const old = await begin(new MemoryFileSystem(), new MemoryStream(content));
    await appendUpTo(old, 4);
    const reader = new MemoryStream(content);
    const read = reader.readSnapshot.bind(reader);
    const asked: number[] = [];
    reader.readSnapshot = async function* (snapshot) {
      asked.push(snapshot.sequence);
      if (asked.length === 1) {
        await appendUpTo(old, 9);
        throw new BatchError('JOURNAL_STREAM_LOST', 'it is gone');
      }
      yield* read(snapshot);
    };
    const next = await begin(new MemoryFileSystem(), reader);
    expect([next.records.length, asked.length, content.snapshots.has(asked[0] ?? 0)]).toEqual([9, 2, false]);
    await Promise.all([old.journal.close(), next.journal.close()]);
  });

  it('brings no snapshot there that the disk has changed, and trims nothing for it', async () => {
    const content = noMessages();
    const disk = new MemoryFileSystem();
    const open = disk.open.bind(disk);
    disk.open = async (path, mode) => {
      const file = await open(path, mode);
      if (mode !== 'read' || !path.includes('snapshot-')) return file;
      const read = async (into: Uint8Array, at: number): Promise<number> => {
        const bytes = await file.read(into, at);
        if (at === 0) into[40] = (into[40] ?? 0) ^ 1;
        return bytes;
      };
      return { ...file, read };
    };
    const refused: Failure[] = [];
    const life = await begin(disk, new MemoryStream(content), {
      onSnapshotRefused: (failure) => refused.push(failure),
    });
    await appendUpTo(life, 9);
    await life.journal.close();
    expect(refused[0]).toMatchObject({ code: 'JOURNAL_CORRUPT' });
    expect([content.snapshots.size, content.first]).toEqual([0, 1]);
  });

  it('does not go on without a snapshot that is there and cannot be read', async () => {
    const stream = new MemoryStream();
    const old = await begin(new MemoryFileSystem(), stream);
    await appendUpTo(old, 4);
    await old.journal.close();
    // eslint-disable-next-line require-yield
    stream.readSnapshot = async function* () {
      await Promise.resolve();
      throw new BatchError('JOURNAL_STREAM_LOST', 'its bytes are others');
    };
    await expect(begin(new MemoryFileSystem(), stream)).rejects.toThrow(failing('JOURNAL_STREAM_LOST', 'others'));
  });

  it('does not lead when the stream has lost what it has followed', async () => {
    const content = noMessages();
    const old = await begin(new MemoryFileSystem(), new MemoryStream(content));
    let lead = (): void => undefined;
    const turn = new Promise<void>((resolve) => (lead = resolve));
    const seen: unknown[] = [];
    let now = 0;
    const clock = { monotonic: () => (now += 1_000), wall: () => 0 } as unknown as NonNullable<JournalOptions['clock']>;
    const following = begin(new MemoryFileSystem(), new MemoryStream(content), {
      ...{ untilLeading: () => turn, onRecord: (record) => void seen.push(record), clock },
    });
    for (const record of ['a', 'b']) {
      old.append(record);
      await turnsUntil(() => seen.includes(record), 'the record while it follows');
    }
    await old.journal.close();
    content.messages.pop();
    lead();
    await expect(following).rejects.toThrow(failing('JOURNAL_STREAM_LOST', 'was read before'));
  });

  it('is whole when it took a snapshot while it followed and leads then', async () => {
    const stream = new MemoryStream();
    const disk = new MemoryFileSystem();
    const old = await begin(new MemoryFileSystem(), stream);
    // More than lies between two snapshots, so that nothing follows the one that is taken.
    old.append('x'.repeat(400));
    await turnsUntil(() => old.synced === 1, 'the record');
    await old.journal.close();
    let hasSnapshot = false;
    const next = await begin(disk, stream, {
      onSnapshot: () => (hasSnapshot = true),
      untilLeading: () => turnsUntil(() => hasSnapshot, 'the snapshot'),
    });
    next.append('its own');
    await turnsUntil(() => next.synced === 2, 'its own record');
    next.append('another');
    await turnsUntil(() => next.synced === 3, 'its next record');
    await next.journal.close();
    const again = await begin(disk, stream);
    expect([again.records.length, again.records.at(-1)]).toEqual([3, 'another']);
    await again.journal.close();
  });

  it('takes what only the disk has to the stream, when nobody has gone on there', async () => {
    const { content, disk } = await lossy();
    const again = await begin(disk, new MemoryStream(content));
    expect(again.records).toEqual(['a', 'b', 'c']);
    await again.journal.close();
    const copy = await begin(new MemoryFileSystem(), new MemoryStream(content));
    expect(copy.records).toEqual(['a', 'b', 'c']);
    await copy.journal.close();
  });

  it('leaves what only the disk has, when it follows', async () => {
    const content = noMessages();
    const disk = new MemoryFileSystem();
    const stream = new MemoryStream(content);
    const life = await begin(disk, stream);
    life.append('a');
    await turnsUntil(() => life.synced === 1, 'the first record');
    stream.fault = () => 'away';
    life.append('never told');
    await quietTurns();
    const closing = life.journal.close();
    await closing;
    const again = await begin(disk, new MemoryStream(content), { untilLeading: () => Promise.resolve() });
    expect(again.records).toEqual(['a']);
    await again.journal.close();
    content.messages.splice(0);
    await expect(begin(disk, new MemoryStream(content), { untilLeading: () => Promise.resolve() })).rejects.toThrow(
      failing('JOURNAL_STREAM_LOST', 'start once without --standby'),
    );
  });

  it('is taken from there when the snapshot that it begins with is damaged here', async () => {
    const { disk, content, snapshot } = await fetched();
    const whole = disk.content(snapshot) ?? Buffer.alloc(0);
    whole[40] = (whole[40] ?? 0) ^ 1;
    disk.put(snapshot, whole);
    const again = await begin(disk, new MemoryStream(content));
    expect(again.records.map((record) => Number(record))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const aside = `damaged-${basename(snapshot)}`;
    expect(again.journal.recovery.aside).toEqual([aside, 'damaged-segment-000001']);
    expect(await disk.list('/state/journal')).toEqual(expect.arrayContaining([...again.journal.recovery.aside]));
    await appendUpTo(again, 12);
    await again.journal.close();
  });

  it('is left as it is when there may be records behind what is damaged here', async () => {
    const { disk, content, snapshot } = await fetched();
    const more = await begin(disk, new MemoryStream(content), { sizes: { ...sizes, snapshotBytes: 100_000 } });
    await appendUpTo(more, 12);
    await more.journal.close();
    await disk.remove(snapshot);
    const segment = '/state/journal/segment-000001';
    const bytes = disk.content(segment) ?? Buffer.alloc(0);
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    disk.put(segment, bytes);
    const before = await disk.list('/state/journal');
    await expect(begin(disk, new MemoryStream(content))).rejects.toThrow(
      failing('JOURNAL_CORRUPT', 'to take it from there, move the folder away and start again'),
    );
    expect(await disk.list('/state/journal')).toEqual(before);
  });

  it('does not begin when stream and disk hold other records that were acknowledged', async () => {
    const { content, disk } = await lossy();
    // A coordinator that went on without knowing.
    const other = await begin(new MemoryFileSystem(), new MemoryStream(content));
    other.append('other');
    await turnsUntil(() => other.synced === 2, 'the other record');
    await other.journal.close();
    await expect(begin(disk, new MemoryStream(content))).rejects.toThrow(
      failing('JOURNAL_STREAM_LOST', 'from record 2 on'),
    );
  });

  it.each(['leads', 'follows'])('begins on a disk with newer snapshots than its stream has, and %s', async (how) => {
    const { disk, content } = await beyondSnapshots();
    const untilLeading = how === 'leads' ? null : () => Promise.resolve();
    const again = await begin(disk, new MemoryStream(content), { untilLeading });
    expect([again.records.length, again.synced]).toEqual([many, many]);
    await appendUpTo(again, many + 1);
    await again.journal.close();
  });

  it('does not begin there when the stream has other records than the snapshots of the disk cover', async () => {
    const { disk, content, earlier, older } = await beyondSnapshots();
    const other = await begin(new MemoryFileSystem(), withoutSnapshots(earlier));
    other.journal.beginEpoch();
    await appendUpTo(other, many);
    await other.journal.close();
    const ending = { ...content, messages: content.messages.slice(0, older - many - 2) };
    for (const wrong of [earlier, ending]) {
      for (const untilLeading of [null, () => Promise.resolve()]) {
        await expect(begin(disk, new MemoryStream(wrong), { untilLeading })).rejects.toThrow(
          failing('JOURNAL_STREAM_LOST', wrong === earlier ? `from record ${older} on` : 'hold different records'),
        );
      }
    }
    const again = await begin(disk, new MemoryStream(content));
    expect(again.records.length).toBe(many);
    await again.journal.close();
  });
});

describe('whatever happens to coordinators that take turns', () => {
  const step = fc.record({
    who: fc.nat(1),
    records: fc.nat(6),
    /** Which message's answer is lost, which never leaves, and after how many changes of the disk the power goes. */
    lost: fc.nat(4),
    away: fc.nat(8),
    changes: fc.nat(40),
  });

  it('every record that was acknowledged is there once, in its place', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
        const content = noMessages();
        const disks = [new MemoryFileSystem(), new MemoryFileSystem()];
        const told: unknown[] = [];
        let number = 0;
        for (const { who, records, lost, away, changes } of steps) {
          const disk = disks[who] as MemoryFileSystem;
          const stream = new MemoryStream(content);
          const life = await begin(disk, stream);
          expect(life.records.slice(0, told.length)).toEqual(told);
          // What came after it may be there as well: nobody was told, and nobody may count on it.
          told.splice(0, told.length, ...life.records);
          life.journal.beginEpoch();
          let publishes = 0;
          stream.fault = () => {
            publishes += 1;
            return publishes > away ? 'away' : publishes === lost ? 'lost' : 'none';
          };
          let left = changes;
          disk.fail = (operation, path) => (operation === 'read' || (left -= 1) >= 0 ? null : systemError('EIO', path));
          const appended: unknown[] = [];
          for (let index = 0; index < records; index += 1) {
            appended.push(`${(number += 1)}`);
            life.append(appended.at(-1));
            await quietTurns();
          }
          told.push(...appended.slice(0, Math.max(0, life.synced - told.length)));
          left = 0;
          stream.fault = () => 'away';
          await life.journal.close().catch(() => undefined);
          disk.fail = () => null;
          disk.powerCut();
        }
        for (const disk of disks) {
          const life = await begin(disk, new MemoryStream(content));
          expect(life.records.slice(0, told.length)).toEqual(told);
          expect(new Set(life.records).size).toBe(life.records.length);
          await life.journal.close();
        }
      }),
      { numRuns: 150 },
    );
  });
});
