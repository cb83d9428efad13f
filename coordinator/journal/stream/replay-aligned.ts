/** Replays the journal of a disk that has a stream beside it: what is damaged here is fetched from there. */
import { join } from 'node:path';
import { BatchError } from '../../../common/core/batch-error.ts';
import type { FileSystem } from '../../../common/ports/file-system.ts';
import { replay, type Recovered, type ReplayOptions } from '../recovery.ts';
import { asideName } from '../repair.ts';
import { listSegments, segmentName, synced } from '../segment-files.ts';
import { findSnapshots, snapshotName } from '../snapshot-file.ts';
import { align, type Alignment, type AlignOptions } from './align.ts';

/**
 * Where snapshots are damaged and all segments can be read, it is known what nobody but this disk has, and of one group at most nothing was
 * acknowledged: the journal here is put aside then, and taken from the stream as on a new disk. In other cases whoever started it is told how.
 * @throws JOURNAL_CORRUPT, JOURNAL_VERSION, and what {@link align} throws
 */
export async function replayAligned(options: ReplayOptions & AlignOptions): Promise<readonly [Recovered, Alignment]> {
  const aligned = await align(options);
  let hasBegun = false;
  const begun: ReplayOptions = {
    ...options,
    onImage: options.onImage && ((content) => ((hasBegun = true), options.onImage?.(content))),
    onRecord: (record, sequence) => {
      hasBegun = true;
      options.onRecord(record, sequence);
    },
  };
  try {
    return [await replay(begun), aligned];
  } catch (error) {
    const isCorrupt = error instanceof BatchError && error.code === 'JOURNAL_CORRUPT';
    if (!isCorrupt || (aligned.unpublished?.groups ?? 0) > 1) throw error;
    if (hasBegun || aligned.isDamaged) throw fetchable(error);
  }
  const aside = await putAside(options);
  const again = await align(options);
  const replayed = await replay(options);
  return [{ ...replayed, recovery: { ...replayed.recovery, aside } }, again];
}

/** Snapshots go first: segments without them are as little a journal as before, should this break off. Returns what they are called now. */
async function putAside({ fileSystem, dir }: { readonly fileSystem: FileSystem; readonly dir: string }) {
  const names = await fileSystem.list(dir);
  const taken = new Set(names);
  const aside: string[] = [];
  const snapshots = findSnapshots(names).sequences.map(snapshotName);
  const segments = (await listSegments(fileSystem, dir)).map(segmentName);
  for (const name of [...snapshots, ...segments]) {
    const other = asideName(taken, name);
    taken.add(other);
    await fileSystem.rename(join(dir, name), join(dir, other));
    aside.push(other);
    if (name === snapshots.at(-1)) await synced(() => fileSystem.syncDir(dir));
  }
  await synced(() => fileSystem.syncDir(dir));
  return aside;
}

function fetchable({ message, detail }: BatchError): BatchError {
  const way =
    'The stream has all that was acknowledged, unless its servers acknowledge before they sync: to take it from there, move the folder away and ' +
    'start again';
  return new BatchError('JOURNAL_CORRUPT', `${message}. ${way}`, { detail });
}
