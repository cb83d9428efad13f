/** Targets that read what the coordinator's journal keeps on the disk: a segment, and a snapshot with what follows it. */
import { evolve } from '../../coordinator/core/evolve.ts';
import type { Event } from '../../coordinator/core/events.ts';
import { newLedger, type Ledger } from '../../coordinator/core/ledger.ts';
import { decodeFrameHeader, frameHeaderBytes, segmentHeaderBytes } from '../../coordinator/journal/frame-format.ts';
import { Journal, type JournalSizes } from '../../coordinator/journal/journal.ts';
import { replay, type Recovery } from '../../coordinator/journal/recovery.ts';
import type { JournalImage } from '../../coordinator/journal/snapshots.ts';
import { ledgerDigest } from '../helpers/ledger-digest.ts';
import { fixtureEvents, ledgerImage } from '../helpers/make-journal.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';
import { turnsUntil } from '../helpers/turns.ts';
import { FuzzDefect, nothingOpen, outcomeOf, same, type FuzzTarget } from './target.ts';

const dir = '/state/journal';

const records = Array.from({ length: 24 }, (_, index) => ({
  kind: 'Record',
  index,
  text: 'x'.repeat((index * 37) % 200),
}));

interface OpenOptions {
  readonly sizes: JournalSizes;
  readonly image?: JournalImage;
  readonly onSnapshot?: () => void;
}

async function openJournal(disk: MemoryFileSystem, options: OpenOptions): Promise<Journal> {
  const fail = (what: unknown): never => {
    throw new Error(JSON.stringify(what));
  };
  return await Journal.open({
    ...options,
    dir: '/state',
    fileSystem: disk,
    onRecord: () => undefined,
    onSynced: () => undefined,
    onStall: fail,
    onFatal: fail,
  });
}

/** A journal of three starts, as the program writes it: one segment of several groups. */
async function journalOfThreeStarts(): Promise<Buffer> {
  const disk = new MemoryFileSystem();
  const sizes = { segmentBytes: 67_108_864, groupBytesMax: 1_024, reserveBytes: 16 };
  for (let start = 0; start < 3; start += 1) {
    const journal = await openJournal(disk, { sizes });
    journal.beginEpoch();
    for (const record of records.slice(start * 8, start * 8 + 8)) journal.append(record);
    await journal.close();
  }
  return segmentOf(disk, 1);
}

function segmentOf(disk: MemoryFileSystem, number: number): Buffer {
  const bytes = disk.content(segmentPath(number));
  if (bytes === null) throw new Error(`no segment ${number} among ${disk.paths().join(' ')}`);
  return bytes;
}

const segmentPath = (number: number): string => `${dir}/segment-${String(number).padStart(6, '0')}`;

/** Where the last group of a segment begins. */
function lastGroupOf(segment: Buffer): number {
  let last = segmentHeaderBytes;
  for (let at = segmentHeaderBytes; at < segment.length;) {
    const { startsGroup, bytes } = decodeFrameHeader(segment, at);
    if (startsGroup) last = at;
    at += frameHeaderBytes + bytes;
  }
  return last;
}

/** What a start may make of a segment: a beginning of what was written; all of it when there is more behind the damage. */
export const journal: FuzzTarget = {
  name: 'journal',
  weight: 9,
  open: async () => {
    const whole = await journalOfThreeStarts();
    const read = async (bytes: Uint8Array): Promise<readonly unknown[]> => {
      const found: unknown[] = [];
      const fileSystem = new MemoryFileSystem();
      fileSystem.put(segmentPath(1), bytes);
      await replay({ fileSystem, dir, onImage: null, onRecord: (record) => found.push(record) });
      return found;
    };
    same(await read(whole), records, 'the journal as it was written');
    const lastGroup = lastGroupOf(whole);
    const isDamaged = (input: Buffer): boolean =>
      input.length === whole.length &&
      !input.equals(whole) &&
      input.subarray(lastGroup).equals(whole.subarray(lastGroup));
    return {
      samples: { valid: [whole], words: ['BMJRNL\r\n', '{"kind":"Record"}', 'null'] },
      run: (input) =>
        outcomeOf(async () => {
          const found = await read(input);
          same(found, records.slice(0, found.length), 'records that were never written');
          // What was on the disk before the last group was written cannot be the end of a write that a crash cut short.
          if (isDamaged(Buffer.from(input))) throw new FuzzDefect(`damage is taken for a torn end of ${found.length}`);
        }),
      close: nothingOpen,
    };
  },
};

/** A coordinator's journal with snapshots, after a clean end. */
async function journalWithSnapshots(): Promise<{ readonly disk: MemoryFileSystem; readonly ledger: Ledger }> {
  const disk = new MemoryFileSystem();
  const ledger = newLedger({ heartbeatMs: 5_000 });
  let taken = 0;
  const journal = await openJournal(disk, {
    sizes: { segmentBytes: 4_096, groupBytesMax: 1_024, reserveBytes: 1, snapshotBytes: 3_000 },
    image: ledgerImage(ledger),
    onSnapshot: () => (taken += 1),
  });
  for (const event of fixtureEvents().journal) {
    evolve(ledger, event);
    if (event.kind === 'EpochBegan') journal.beginEpoch();
    const sequence = journal.append(event);
    await turnsUntil(() => journal.syncedSequence >= sequence, 'a sync');
  }
  await turnsUntil(() => taken >= 2, 'two snapshots');
  await journal.close();
  return { disk, ledger };
}

/**
 * A snapshot with one byte changed is no snapshot: the start goes on from the one before it and comes to the same ledger,
 * or refuses when that one is gone too.
 */
export const snapshots: FuzzTarget = {
  name: 'snapshots',
  weight: 4,
  open: async () => {
    const { disk, ledger } = await journalWithSnapshots();
    const contents = disk.paths().map((path) => [path, disk.content(path) as Buffer] as const);
    const [older = '', newer = ''] = contents.map(([path]) => path).filter((path) => /\/snapshot-\d+$/.test(path));
    const valid = disk.content(newer);
    if (valid === null) throw new Error(`no two snapshots among ${disk.paths().join(' ')}`);
    const wanted = ledgerDigest(ledger, { withCursor: true });
    const start = async (input: Uint8Array, isAlone: boolean): Promise<Recovery> => {
      const fileSystem = new MemoryFileSystem();
      for (const [path, bytes] of contents) if (!isAlone || path !== older) fileSystem.put(path, bytes);
      fileSystem.put(newer, input);
      const replayed = newLedger({ heartbeatMs: 5_000 });
      const { recovery } = await replay({
        ...{ fileSystem, dir, onImage: (content) => ledgerImage(replayed).load(content) },
        onRecord: (record) => evolve(replayed, record as Event),
      });
      same(ledgerDigest(replayed, { withCursor: true }), wanted, 'a ledger from a damaged snapshot');
      return recovery;
    };
    return {
      samples: {
        valid: [valid, disk.content(older) as Buffer],
        words: ['BMSNAP\r\n', '{"version":1', 'null', '-1', '0'],
      },
      run: async (input, random) => {
        let isPassedOver = false;
        const outcome = await outcomeOf(async () => {
          const { damaged } = await start(input, random.chance(0.3));
          isPassedOver = damaged.length > 0;
        });
        const isChanged = !valid.equals(input);
        const isLoaded = outcome.kind === 'accepted' && !isPassedOver;
        if (isLoaded === isChanged)
          throw new FuzzDefect(isChanged ? 'a snapshot that was changed is loaded' : 'a snapshot that is whole is not');
        return isPassedOver ? { kind: 'refused', code: 'PASSED_OVER' } : outcome;
      },
      close: nothingOpen,
    };
  },
};
