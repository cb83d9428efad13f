/** Mini-batches that are cut by time, as they are granted. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { noBatch } from '../../coordinator/core/batch-table.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { decodeImage, encodeImage } from '../../coordinator/journal/image-bytes.ts';
import { ledgerDigest } from '../helpers/ledger-digest.ts';
import { files, Harness, job, type EffectOf } from '../helpers/ledger-harness.ts';

const auto = { miniBatchSize: { kind: 'auto' } } as const;
const tenSeconds = { miniBatchSize: { kind: 'seconds', seconds: 10 } } as const;

type Grant = EffectOf<'grant'>;

/** What a result of these files takes. */
type Seconds = (grant: Grant) => number;

/** Asks for one lease and commits it, again and again, until nothing is granted; gives what was. */
function drain(h: Harness, node: NodeName, seconds: Seconds, most = Infinity, bytesOfFile = 10): readonly Grant[] {
  const granted: Grant[] = [];
  const queue = [...h.takeOf('grant')];
  while (granted.length < most) {
    if (queue.length === 0) h.give({ kind: 'want', node, leases: 1 });
    queue.push(...h.takeOf('grant'));
    const grant = queue.shift();
    if (!grant) break;
    granted.push(grant);
    const length = bytesOfFile * grant.range.count;
    h.commit(node, grant.token, { length, summary: { runSeconds: seconds(grant) } });
    while (h.job.copy) h.copied();
  }
  return granted;
}

const perFile =
  (seconds: number): Seconds =>
  ({ range }) =>
    seconds * range.count;
const counts = (grants: readonly Grant[]): readonly number[] => grants.map(({ range }) => range.count);
const ranges = (grants: readonly Grant[]): readonly string[] =>
  grants.map(({ range }) => `${range.first}+${range.count}`);

/** Every file stands in the order once. */
function expectWhole(h: Harness): void {
  const { batches } = h.job;
  let file = 0;
  let [rows, open] = [0, 0];
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    if (batches.state(batch) === 'split') continue;
    expect(batches.first(batch)).toBe(file);
    expect(batches.files(batch)).toBeGreaterThan(0);
    file += batches.files(batch);
    rows += 1;
    if (batches.state(batch) !== 'committed' && batches.state(batch) !== 'quarantined') open += 1;
  }
  expect([file, rows, open]).toEqual([h.job.planned, h.job.total, h.job.open]);
}

/** The journal gives the ledger, and a snapshot of it gives the same. */
function expectReplays(h: Harness): void {
  const digest = (one: Harness['ledger']): string => JSON.stringify(ledgerDigest(one, { withCursor: false }));
  const replayed = new Harness(h.journal, h.ledger.epoch).ledger;
  expect(digest(replayed)).toBe(digest(h.ledger));
  const restored = newLedger({ heartbeatMs: 5_000 });
  restoreImage(restored, decodeImage(Buffer.concat([...encodeImage(imageOf(h.ledger))])));
  expect(digest(restored)).toBe(digest(h.ledger));
  expect([...restored.learned]).toEqual([...h.ledger.learned]);
}

describe('mini-batches that are cut by time', () => {
  it('have one file each until a result is there, then more and more up to the time', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'seconds', seconds: 10 } })
      .list(...files(400))
      .endList();
    expect([h.order, h.job.total, h.job.state]).toEqual(['0+400:uncut', 1, 'Running']);
    const a = h.node('a', 3, { slots: 3 });
    expect(ranges(h.takeOf('grant'))).toEqual(['0+1', '1+1', '2+1']);
    for (const { token } of [...h.ledger.leases.values()]) h.commit(a, token, { summary: { runSeconds: 0.1 } });
    const sizes = counts(drain(h, a, perFile(0.1)));
    expect(sizes.slice(0, 3)).toEqual([4, 16, 64]);
    // A hundred, or one less where the rates are a hair too high.
    expect(sizes.slice(3, -1).every((size) => size === 100 || size === 99)).toBe(true);
    expect([h.job.state, h.job.scoredFiles, h.job.rows, sizes.length]).toEqual(['Finalizing', 400, 400, 7]);
    expectWhole(h);
    expectReplays(h);
  });

  it('do not come near their timeout', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'seconds', seconds: 60 }, timeoutMs: 20_000 })
      .list(...files(400))
      .endList();
    const sizes = counts(drain(h, h.node('a'), perFile(1)));
    expect([9, 10]).toContain(Math.max(...sizes));
  });

  it('are long in the middle of an automatic plan and short at its end', () => {
    const h = new Harness()
      .submit(auto)
      .list(...files(4_000))
      .endList();
    const sizes = counts(drain(h, h.node('a', 0, { slots: 4 }), perFile(0.1)));
    const most = limits.autoSeconds / 0.1;
    // Three files are less than a tenth of a second for each of the slots; then twice what each has had.
    expect(sizes.slice(0, 5)).toEqual([1, 1, 1, 1, 2]);
    const full = sizes.findIndex((size) => size >= most - 1);
    expect(sizes.slice(0, full).every((size, index, all) => index === 0 || size >= (all[index - 1] ?? 0))).toBe(true);
    // The last files, less than four times as long for each of the slots, are shared out in ever smaller pieces.
    const late = sizes.findIndex((size, index) => index > full && size < most - 1);
    expect(sizes.slice(full, late).every((size) => size === most || size === most - 1)).toBe(true);
    expect(sizes.slice(late).every((size, index, all) => index === 0 || size <= (all[index - 1] ?? 0))).toBe(true);
    const left = sizes.slice(late).reduce((sum, size) => sum + size, 0);
    expect([left > 250, left < 350, sizes.at(-1)]).toEqual([true, true, 1]);
  });

  it('are longer where each costs something whatever is in it', () => {
    const h = new Harness()
      .submit({ ...auto, timeoutMs: 300_000 })
      .list(...files(20_000))
      .endList();
    const sizes = counts(drain(h, h.node('a'), ({ range }) => 0.5 + 0.01 * range.count, 60));
    // Twenty times half a second, less that half.
    expect(Math.max(...sizes)).toBeGreaterThan(900);
  });

  it('hold no more files and bytes than a script may want in its memory', () => {
    const many = new Harness()
      .submit(auto)
      .list(...files(5_000))
      .endList();
    expect(Math.max(...counts(drain(many, many.node('a'), perFile(1e-5))))).toBe(limits.miniBatchAutoFilesMax);
    const large = new Harness()
      .submit(auto)
      .list(...Array.from({ length: 300 }, () => limits.miniBatchAutoBytesMax / 8))
      .endList();
    expect(Math.max(...counts(drain(large, large.node('a'), perFile(1e-5))))).toBe(8);
  });

  it('give no more bytes than go to the output without a file of their own, once it is known what a file gives', () => {
    const h = new Harness()
      .submit(auto)
      .list(...files(400))
      .endList();
    const megabyte = 1_000_000;
    const sizes = counts(drain(h, h.node('a'), perFile(1e-3), Infinity, megabyte));
    expect(sizes.slice(0, 2)).toEqual([1, 4]);
    expect(Math.max(...sizes)).toBe(Math.floor(limits.miniBatchAutoResultBytes / megabyte));
    expect(sizes.filter((size) => size === Math.max(...sizes)).length).toBeGreaterThan(90);
    // A file that gives more than that is alone.
    const huge = new Harness()
      .submit(auto)
      .list(...files(20))
      .endList();
    expect(Math.max(...counts(drain(huge, huge.node('a'), perFile(1e-3), Infinity, 9 * megabyte)))).toBe(1);
    expectReplays(h);
  });

  it('go on where the listing goes on, whatever was cut before', () => {
    const h = new Harness().submit(auto).list(...files(3));
    const a = h.node('a');
    expect(ranges(drain(h, a, perFile(10)))).toEqual(['0+1', '1+1', '2+1']);
    expect(h.job.state).toBe('Running');
    h.list(...files(2));
    expect(h.order).toBe('0+1:committed 1+1:committed 2+1:committed 3+1:leased 4+1:uncut');
    h.list(...files(2))
      .list()
      .endList();
    expect(h.order).toBe('0+1:committed 1+1:committed 2+1:committed 3+1:leased 4+3:uncut');
    expect(ranges(drain(h, a, perFile(10)))).toEqual(['3+1', '4+1', '5+1', '6+1']);
    expect(h.job.state).toBe('Finalizing');
  });

  it('cost no memory before they are cut', () => {
    const h = new Harness().submit(auto);
    for (let page = 0; page < 25; page += 1) h.list(...files(4_096));
    expect([h.job.files, h.job.batches.count, h.job.fileSizes.image().byteLength]).toEqual([102_400, 1, 409_600]);
    expect(h.job.batches.unleased).toEqual({ batches: 1, files: 102_400, bytes: 102_400 });
  });

  it('leave no file out and none twice, whatever is large and whatever fails, and replay', () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 10 }), fc.integer({ min: 500, max: 90_000 })), {
      minLength: 1,
      maxLength: 120,
    });
    const kinds = fc.constantFrom<MiniBatchSize>({ kind: 'auto' }, { kind: 'seconds', seconds: 0.1 });
    fc.assert(
      fc.property(sizes, kinds, fc.nat(50), fc.integer({ min: 1, max: 40 }), (given, size, poison, perPage) => {
        const h = new Harness().submit({ miniBatchSize: size, triesMax: 1 });
        const a = h.node('a', 0, { slots: 3 });
        for (let first = 0; first < given.length; first += perPage) {
          h.list(...given.slice(first, first + perPage));
          h.give({ kind: 'want', node: a, leases: 2 });
        }
        h.endList();
        for (let round = 0; round < 500 && h.job.open > 0; round += 1) {
          for (const { token, batch } of [...h.ledger.leases.values()]) {
            const [first, count] = [h.job.batches.first(batch), h.job.batches.files(batch)];
            const bytes = h.job.batches.bytesOf(batch);
            expect(bytes).toBe(given.slice(first, first + count).reduce((sum, one) => sum + one, 0));
            if (poison >= first && poison < first + count) h.fail(a, token, 'SCORER_FAILED');
            else h.commit(a, token, { summary: { runSeconds: 0.001 * count + 1e-5 * bytes } });
          }
          while (h.job.copy) h.copied();
          h.pass(limits.tickMs);
          h.heartbeat(a, []);
          h.give({ kind: 'want', node: a, leases: 3 });
          expectWhole(h);
        }
        const failed = poison < given.length ? 1 : 0;
        expect([h.job.open, h.job.scoredFiles, h.job.failedFiles]).toEqual([0, given.length - failed, failed]);
        expect(h.job.batches.unleased).toEqual({ batches: 0, files: 0, bytes: 0 });
        expectReplays(h);
      }),
      { numRuns: 60 },
    );
  });
});

describe('a large file among small ones', () => {
  const given = Array.from({ length: 200 }, (_, file) => (file === 120 ? 50_000 : 100));

  it('is a mini-batch of its own that begins at once, and its neighbours stay together', () => {
    const h = new Harness().submit(auto).list(...given);
    const a = h.node('a', 3);
    expect(ranges(h.takeOf('grant'))).toEqual(['0+1', '120+1', '1+1']);
    expect(h.order).toBe('0+1:leased 1+1:leased 2+118:uncut 120+1:leased 121+79:uncut');
    expect(h.job.batches.bytesOf(h.job.cursor)).toBe(100);
    h.endList();
    for (const { token, batch } of [...h.ledger.leases.values()]) {
      h.commit(a, token, { summary: { runSeconds: h.job.batches.bytesOf(batch) / 10_000 } });
    }
    while (h.job.copy) h.copied();
    drain(h, a, ({ range }) => range.count / 100);
    expect([h.job.state, h.job.scoredFiles]).toEqual(['Finalizing', 200]);
    expectWhole(h);
  });

  it('goes with the others where bytes do not make it long', () => {
    const h = new Harness().submit(auto).list(...files(60));
    const a = h.node('a');
    drain(h, a, perFile(0.01), 12);
    h.list(...given).endList();
    const granted = drain(h, a, perFile(0.01));
    const own = granted.find(({ range }) => range.first <= 180 && 180 < range.first + range.count);
    expect(own?.range.count).toBeGreaterThan(1);
    expectWhole(h);
  });
});

describe('a scorer that fails', () => {
  it('whatever it gets is told to be broken after a few files, although the first mini-batches have one each', () => {
    const h = new Harness()
      .submit(auto)
      .list(...files(4_000))
      .endList();
    const a = h.node('a', 2);
    for (let round = 0; round < 200 && h.job.state === 'Running'; round += 1) {
      for (const { token } of [...h.ledger.leases.values()]) h.fail(a, token, 'SCORER_FAILED');
      h.heartbeat(a, []);
      h.pass(1_000);
      h.give({ kind: 'want', node: a, leases: 2 });
    }
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', 'SCORER_FAILED']);
    expect(h.job.error?.message).toContain('the cause is the script or the model and not a file');
    expect(h.job.planned - h.job.batches.unleased.files).toBeLessThan(30);
  });

  it('for want of memory gets half as many files from then on, in the next job too', () => {
    const h = new Harness()
      .submit(tenSeconds)
      .list(...files(2_000))
      .endList();
    const a = h.node('a');
    const granted: Grant[] = [];
    for (let round = 0; round < 400 && h.job.open > 0; round += 1) {
      h.give({ kind: 'want', node: a, leases: 1 });
      for (const grant of h.takeOf('grant')) {
        granted.push(grant);
        const isTooMuch = grant.range.count > 60;
        if (isTooMuch) h.fail(a, grant.token, 'SCORER_OUT_OF_MEMORY');
        else h.commit(a, grant.token, { summary: { runSeconds: 0.01 * grant.range.count } });
      }
      while (h.job.copy) h.copied();
      h.heartbeat(a, []);
      h.pass(1_000);
    }
    expect([h.job.state, h.job.failedFiles]).toEqual(['Finalizing', 0]);
    // 256 at first, which is tried twice, then 64, its half, twice, and 32 from there on.
    expect(counts(granted).filter((count) => count > 60).length).toBeLessThan(10);
    expect(h.job.learned.filesFit).toBeLessThanOrEqual(60);
    expectReplays(h);
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect([...h.ledger.learned.values()].map(({ filesFit }) => filesFit)).toEqual([h.job.learned.filesFit]);
  });
});

describe('a crash while mini-batches are cut', () => {
  function begun(): { h: Harness; a: NodeName } {
    const h = new Harness()
      .submit(tenSeconds)
      .list(...files(100))
      .endList();
    const a = h.node('a');
    drain(h, a, perFile(0.1), 2);
    return { h, a };
  }

  it('that took the record of a cut gives its files out anew, and what a node held of it is nothing', () => {
    const { h, a } = begun();
    const before = h.journal.length;
    h.give({ kind: 'want', node: a, leases: 1 });
    const [grant] = h.takeOf('grant');
    expect(ranges(grant ? [grant] : [])).toEqual(['5+16']);
    const again = h.restart(before);
    const held = [{ token: grant?.token ?? { epoch: 0, counter: 0 }, job, first: 5, count: 16 }];
    again.node('a', 1, { held });
    expect(again.takeOf('adopt')).toEqual([]);
    again.pass(limits.restartGraceMs + 400);
    expect(again.order).toContain('5+16:leased');
    expect(again.ledger.leases.size).toBe(1);
  });

  it('that kept it lets the node go on with what it holds', () => {
    const { h, a } = begun();
    h.give({ kind: 'want', node: a, leases: 1 });
    const [grant] = h.takeOf('grant');
    if (!grant) throw new Error('there is no grant');
    const again = h.restart();
    again.node('a', 0, { held: [{ token: grant.token, job, ...grant.range }] });
    expect(again.takeOf('adopt').length).toBe(1);
    expect(again.order).toBe('0+1:committed 1+4:committed 5+16:leased 21+79:uncut');
    expect(again.job.learned).toEqual(h.job.learned);
  });
});

describe('what a job has taught', () => {
  it('lets the next one with the same scorer begin well, after a restart and a prune too', () => {
    const h = new Harness()
      .submit(auto)
      .list(...files(100))
      .endList();
    const a = h.node('a');
    drain(h, a, perFile(0.01));
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect([h.job.state, h.ledger.learned.size]).toEqual(['Completed', 1]);
    h.give({ kind: 'prune', job });
    const again = h.restart();
    again.pass(limits.restartGraceMs + 400);
    again.submit({ ...auto, timeoutMs: 60_000 }).list(...files(4_000));
    const b = again.node('b', 1);
    const [first] = counts(again.takeOf('grant'));
    // A tenth of a second, so that its rows are there soon.
    expect(first).toBe(limits.autoSecondsFirst / 0.01);
    // Another script is another matter.
    const { deployment } = again.job;
    const other = { ...deployment, scorer: { kind: 'python', script: 'other.py' } as const };
    again.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    again.give({ kind: 'sealed', job, wallMs: 0 });
    again.give({ kind: 'prune', job });
    again.give({ kind: 'submit', job, deployment: other, inputPath: '/in', outputDir: '/out', wallMs: 0 });
    again.list(...files(4_000));
    again.give({ kind: 'want', node: b, leases: 1 });
    expect(counts(again.takeOf('grant'))[0]).toBe(1);
  });

  it('is kept of the latest deployments alone', () => {
    const h = new Harness().submit(auto).list(1).endList();
    drain(h, h.node('a'), perFile(0.01));
    const { learned } = h.job;
    for (let more = 0; more < limits.ratesDeploymentsMax; more += 1) h.ledger.learned.set(`${more}`, learned);
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect(h.ledger.learned.size).toBe(limits.ratesDeploymentsMax);
    expect([h.ledger.learned.has('0'), h.ledger.learned.has('1')]).toEqual([false, true]);
  });
});

describe('a job that goes on', () => {
  /** Broken off with 5 files committed, 4 leased and the rest uncut. */
  function brokenOff(count = 40): Harness {
    const h = new Harness().submit(tenSeconds);
    for (let left = count; left > 0; left -= 4_096) h.list(...files(Math.min(4_096, left)));
    h.endList();
    const a = h.node('a');
    drain(h, a, perFile(0.1), 2);
    h.give({ kind: 'want', node: a, leases: 1 });
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job, wallMs: 0 });
    h.take();
    expect(h.order.startsWith('0+1:committed 1+4:committed 5+16:')).toBe(true);
    return h;
  }

  function reopen(h: Harness, miniBatchSize: MiniBatchSize, sizes: readonly number[] | null): void {
    const { deployment, reopenings } = h.job;
    const changed = { ...deployment, settings: { ...deployment.settings, miniBatchSize } };
    const recut = sizes && [{ first: 5, sizesBytes: sizes }];
    h.give({ kind: 'reopen', job, scope: 'rest', deployment: changed, reopenings, recut });
    expectWhole(h);
    expectReplays(h);
  }

  it('as it was, keeps what is cut and cuts on', () => {
    const h = brokenOff();
    reopen(h, tenSeconds.miniBatchSize, null);
    expect(h.order).toBe('0+1:committed 1+4:committed 5+16:pending 21+19:uncut');
    expect(ranges(drain(h, 'a' as NodeName, perFile(0.1)))[0]).toBe('5+16');
    expect([h.job.state, h.job.scoredFiles]).toEqual(['Finalizing', 40]);
  });

  it('by another time, cuts anew what was cut and leaves the rest uncut', () => {
    const h = brokenOff();
    reopen(h, { kind: 'seconds', seconds: 0.3 }, files(35));
    expect(h.order).toBe('0+1:committed 1+4:committed 5+16:uncut 21+19:uncut');
    expect(Math.max(...counts(drain(h, 'a' as NodeName, perFile(0.1))))).toBe(3);
    expect([h.job.state, h.job.scoredFiles]).toEqual(['Finalizing', 40]);
  });

  it('by files, has all of it cut at once', () => {
    const h = brokenOff();
    reopen(h, { kind: 'files', files: 12 }, files(35));
    expect(h.order).toBe('0+1:committed 1+4:committed 5+12:pending 17+12:pending 29+11:pending');
    expect(h.job.batches.bytesOf(h.job.cursor)).toBe(12);
    drain(h, 'a' as NodeName, perFile(0.1));
    expect([h.job.state, h.job.scoredFiles]).toEqual(['Finalizing', 40]);
  });

  it('automatically instead of by files, forgets the bounds of what was cut', () => {
    const h = new Harness().submit().list(...files(40));
    const a = h.node('a');
    drain(h, a, perFile(0.1), 2);
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job, wallMs: 0 });
    const { deployment, reopenings } = h.job;
    const changed = { ...deployment, settings: { ...deployment.settings, miniBatchSize: { kind: 'auto' } as const } };
    const recut = [{ first: 4, sizesBytes: [...files(35), 900] }];
    h.give({ kind: 'reopen', job, scope: 'rest', deployment: changed, reopenings, recut });
    expect(h.order).toBe('0+2:committed 2+2:committed 4+36:uncut');
    expect(h.job.fileSizes.bytes(39)).toBe(900);
    // Its listing goes on.
    h.list(1, 1).endList();
    expect(h.order).toBe('0+2:committed 2+2:committed 4+38:uncut');
    expectReplays(h);
    drain(h, a, perFile(0.1));
    expect([h.job.state, h.job.scoredFiles]).toEqual(['Finalizing', 42]);
  });

  it('with more files than one record can name the sizes of, cuts them in several', () => {
    const count = 2 * limits.recutFilesMax + 45;
    const h = brokenOff(count);
    reopen(h, { kind: 'files', files: 100_000 }, files(count - 5));
    const sizes = h.journal.flatMap((event) => (event.kind === 'Recut' ? [event.sizes] : []));
    expect(sizes.map((one) => one.reduce((sum, size) => sum + size, 0))).toEqual([16 + 131_072, 131_072, 24]);
    expect(h.job.open).toBe(5);
  });
});
