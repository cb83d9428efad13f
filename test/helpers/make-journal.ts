/**
 * Writes a small journal, as the program writes one now, into `DIR/journal`, and beside it what a replay of it must give.
 * `node scripts/journal-fixture.mjs DIR` runs it: once for each format version, whose fixture is then kept for ever.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jobName } from '../../common/core/ids.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { newLedger, type Ledger } from '../../coordinator/core/ledger.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { decodeImage, encodeImage } from '../../coordinator/journal/image-bytes.ts';
import type { JournalImage } from '../../coordinator/journal/snapshots.ts';
import { Journal } from '../../coordinator/journal/journal.ts';
import { ledgerDigest } from './ledger-digest.ts';
import { files, Harness } from './ledger-harness.ts';

/** Every kind of record: two jobs, two lives of the coordinator, results ahead of their turn, poison, a node that is lost. */
export function fixtureEvents(): Harness {
  const first = new Harness().submit().list(...files(16));
  const [a, b] = [first.node('node-a', 4), first.node('node-b', 4)];
  const [a1, a2, a3] = first.grants();
  if (!a1 || !a2 || !a3) throw new Error('too few grants');
  first.commit(a, a2, { customLength: 5 });
  first.fail(a, a3, 'SCORER_FAILED', 1);
  first.commit(a, a1);
  first.copied();
  const held = [...first.ledger.leases.values()]
    .filter(({ node }) => node === b)
    .map(({ token, batch, job }) => ({
      token,
      job,
      first: first.job.batches.first(batch),
      count: first.job.batches.files(batch),
    }));
  const { deployment } = first.job;
  first.give({
    kind: 'submit',
    job: jobName('other'),
    deployment,
    inputPath: '/in',
    outputDir: '/other',
    wallMs: 7,
  });

  const second = first.restart();
  second.give({ kind: 'cancel', job: jobName('other'), graceMs: 0, wallMs: 9 });
  const b2 = second.node('node-b', 1, { held });
  second.list(...files(5)).endList(2);
  for (let round = 0; round < 60 && second.job.open > 0; round += 1) {
    second.pass(30_000 / 10);
    second.give({ kind: 'want', node: b2, leases: 2 });
    for (const { token, batch } of [...second.ledger.leases.values()]) {
      const at = second.job.batches.first(batch);
      const isPoison = at <= 5 && at + second.job.batches.files(batch) > 5;
      if (isPoison) second.fail(b2, token, 'SCORER_CRASHED', -1);
      else second.commit(b2, token, { customLength: at % 4 });
    }
    if (second.job.copy) second.copied();
    second.heartbeat(b2, []);
  }
  while (second.job.copy) second.copied();
  second.give({ kind: 'sealed', job: second.job.name, wallMs: 11 });
  return second;
}

/** How a coordinator's journal takes and loads snapshots of `ledger`. */
export function ledgerImage(ledger: Ledger): JournalImage {
  return {
    take: () => ({ bytes: 0, pieces: encodeImage(imageOf(ledger)) }),
    load: (content) => restoreImage(ledger, decodeImage(content)),
  };
}

/** @throws when the folder cannot be written */
export async function makeJournal(dir: string): Promise<void> {
  const end = (what: unknown): never => {
    throw new Error(JSON.stringify(what));
  };
  await rm(join(dir, 'journal'), { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  const { journal: events } = fixtureEvents();
  const ledger = newLedger({ heartbeatMs: 5_000 });
  let synced = 0;
  let snapshots = 0;
  const journal = await Journal.open({
    dir,
    sizes: { segmentBytes: 4_096, groupBytesMax: 1_024, reserveBytes: 1, snapshotBytes: 3_000 },
    image: ledgerImage(ledger),
    onSnapshot: () => (snapshots += 1),
    onRecord: () => undefined,
    onSynced: (sequence) => (synced = sequence),
    onStall: end,
    onFatal: end,
  });
  for (const event of events) {
    evolve(ledger, event);
    if (event.kind === 'EpochBegan') journal.beginEpoch();
    const sequence = journal.append(event);
    while (synced < sequence) await new Promise<void>((resolve) => setImmediate(resolve));
  }
  // The one that is begun last is not cut short.
  for (let turn = 0; turn < 1_000 && snapshots < 2; turn += 1)
    await new Promise<void>((resolve) => setImmediate(resolve));
  await journal.close();
  await rm(join(dir, 'journal', 'reserve'));
  const expected = { records: events.length, ledger: ledgerDigest(ledger, { withCursor: true }) };
  await writeFile(join(dir, 'expected.json'), `${JSON.stringify(expected, null, 1)}\n`);
}
