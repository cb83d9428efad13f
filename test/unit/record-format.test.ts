/** A coordinator that meets records of a newer release: it says so and changes nothing, at a start and while it stands by. */
import { describe, expect, it } from 'vitest';
import { recordFormat } from '../../coordinator/core/events.ts';
import { parseRecord } from '../../coordinator/engine.ts';
import { Journal, type JournalOptions } from '../../coordinator/journal/journal.ts';
import { failing } from '../helpers/failing.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';
import { MemoryStream } from '../helpers/memory-stream.ts';
import { turnsUntil } from '../helpers/turns.ts';

const known = { kind: 'EpochBegan', epoch: 1, tellsNodes: true, format: recordFormat };
/** What a release of tomorrow may write, and what is said of it. */
const newer = [
  ['a format', { ...known, epoch: 2, format: recordFormat + 1 }, `have format ${recordFormat + 1}`],
  ['a kind', { kind: 'JobDreamt' }, 'is of kind "JobDreamt"'],
] as const;

/** One that reads as a coordinator of this release does, or one that writes whatever it is told. */
function open(
  fileSystem: MemoryFileSystem,
  stream: MemoryStream | null,
  more: Partial<JournalOptions> = {},
): Promise<Journal> {
  return Journal.open({
    ...{ dir: '/state', fileSystem, stream, delay: () => new Promise<void>((resolve) => setImmediate(resolve)) },
    sizes: { segmentBytes: 4_096, groupBytesMax: 1_024, reserveBytes: 0 },
    onRecord: (record, sequence) => void parseRecord(record, sequence),
    onSynced: () => undefined,
    onStall: () => undefined,
    onFatal: () => undefined,
    ...more,
  });
}

async function append(journal: Journal, ...records: readonly unknown[]): Promise<void> {
  const last = records.map((record) => journal.append(record)).at(-1) ?? 0;
  await turnsUntil(() => journal.syncedSequence >= last, 'the records');
}

describe('records of a newer release', () => {
  it('are told by the format that an epoch names; those of before have none', () => {
    expect(parseRecord({ kind: 'EpochBegan', epoch: 1 }, 1)).toEqual({ kind: 'EpochBegan', epoch: 1 });
    expect(parseRecord(known, 1)).toEqual(known);
  });

  it.each(newer)('%s that is not known ends a start, and the disk is as it was', async (_name, record, said) => {
    const disk = new MemoryFileSystem();
    const journal = await open(disk, null);
    await append(journal, known, record);
    await journal.close();
    const before = disk.paths().map((path) => [path, disk.content(path)]);
    await expect(open(disk, null)).rejects.toThrow(failing('JOURNAL_VERSION', said));
    expect(disk.paths().map((path) => [path, disk.content(path)])).toEqual(before);
  });

  it.each(newer)(
    '%s that is not known ends one that stands by, and the leader goes on',
    async (_name, record, said) => {
      const stream = new MemoryStream();
      const leader = await open(new MemoryFileSystem(), stream);
      await append(leader, known);
      const following = open(new MemoryFileSystem(), stream, { untilLeading: () => new Promise(() => undefined) });
      const ended = expect(following).rejects.toThrow(failing('JOURNAL_VERSION', said));
      await append(leader, record);
      await ended;
      await append(leader, known);
      await leader.close();
    },
  );
});
