/** Journals that earlier releases wrote, each replayed to what their release made of them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../common/io/package-files.ts';
import type { Event } from '../../coordinator/core/events.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { Journal } from '../../coordinator/journal/journal.ts';
import { journalVersion } from '../../coordinator/journal/frame-format.ts';
import { ledgerDigest } from '../helpers/ledger-digest.ts';
import { ledgerImage } from '../helpers/make-journal.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';

const folder = join(packageRoot, 'test', 'fixtures', 'journal');
const versions = readdirSync(folder).sort();

/** The fixture on a disk of its own. */
function diskOf(version: string): MemoryFileSystem {
  const disk = new MemoryFileSystem();
  const dir = join(folder, version, 'journal');
  for (const name of readdirSync(dir)) disk.put(`/state/journal/${name}`, readFileSync(join(dir, name)));
  return disk;
}

describe('a journal of an earlier release', () => {
  it('is kept for every format version up to the present one', () => {
    expect(versions).toEqual(Array.from({ length: journalVersion }, (_, index) => `v${index + 1}`));
  });

  it.each(versions)('%s gives the ledger that it gave then', async (version) => {
    const expected = JSON.parse(readFileSync(join(folder, version, 'expected.json'), 'utf8')) as { records: number };
    const ledger = newLedger({ heartbeatMs: 5_000 });
    const end = (what: unknown): never => {
      throw new Error(JSON.stringify(what));
    };
    const journal = await Journal.open({
      dir: '/state',
      fileSystem: diskOf(version),
      onRecord: (record) => evolve(ledger, record as Event),
      onSynced: () => undefined,
      onStall: end,
      onFatal: end,
      image: ledgerImage(ledger),
    });
    expect(journal.recovery.snapshot > 0).toBe(version !== 'v1');
    const found = { records: journal.syncedSequence, ledger: ledgerDigest(ledger, { withCursor: true }) };
    // What later releases know besides is no concern of an old journal.
    expect(JSON.parse(JSON.stringify(found))).toMatchObject(expected);
    await journal.close();
  });
});
