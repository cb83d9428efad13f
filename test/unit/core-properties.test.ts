/** What must hold of bisection, planning, ordering and splicing whatever they are given. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { jobName, nodeName, digest } from '../../common/core/ids.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import { BatchTable, noBatch, noPlace, outputSegment } from '../../coordinator/core/batch-table.ts';
import { splitSizes } from '../../coordinator/core/decide-failure.ts';
import { copyEvents } from '../../coordinator/core/decide-result.ts';
import { appended, copyStarted, schemaFixed } from '../../coordinator/core/evolve-output.ts';
import { newLedger, type Job } from '../../coordinator/core/ledger.ts';
import { newJob } from '../../coordinator/core/new-job.ts';
import { cutEnd, cutPage, emptyCut } from '../../coordinator/core/plan.ts';
import { countStaged } from '../../coordinator/core/staging-window.ts';
import { SegmentWalk, type OutputPlace } from '../../coordinator/output/segments.ts';
import type { SegmentLine } from '../../coordinator/output/sealed-lines.ts';
import { crc32 } from 'node:zlib';

const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0);

describe('bisection', () => {
  const range = fc.integer({ min: 2, max: 100_000 });

  test('parts add up, none is empty, and each is smaller', () => {
    fc.assert(
      fc.property(range, fc.integer({ min: -1, max: 100_001 }), (files, suspect) => {
        const sizes = splitSizes(files, suspect);
        expect(sum(sizes)).toBe(files);
        expect(sizes.every((size) => size >= 1 && size < files)).toBe(true);
      }),
    );
  });

  test('a suspect that is not the last file is alone in its part', () => {
    fc.assert(
      fc.property(
        range.chain((files) => fc.tuple(fc.constant(files), fc.integer({ min: 0, max: files - 2 }))),
        ([files, suspect]) => {
          const sizes = splitSizes(files, suspect);
          const starts = sizes.map((_, index) => sum(sizes.slice(0, index)));
          expect(sizes[starts.indexOf(suspect)]).toBe(1);
        },
      ),
    );
  });

  test('one poison file is found alone within as many rounds as halves need, and all others are kept', () => {
    fc.assert(
      fc.property(
        range.chain((files) => fc.tuple(fc.constant(files), fc.integer({ min: 0, max: files - 1 }))),
        ([files, poison]) => {
          let [first, count, rounds, kept] = [0, files, 0, 0];
          for (; count > 1; rounds += 1) {
            let at = first;
            const parts = splitSizes(count, -1).map((size) => ({ first: (at += size) - size, count: size }));
            const bad = parts.find((part) => poison >= part.first && poison < part.first + part.count);
            kept += count - (bad?.count ?? 0);
            ({ first, count } = bad ?? { first, count: 0 });
          }
          expect([first, count, kept]).toEqual([poison, 1, files - 1]);
          expect(rounds).toBeLessThanOrEqual(Math.ceil(Math.log2(files)));
        },
      ),
    );
  });

  test('a split keeps the order and the ranges of the table', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
    const splits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: -1, max: 40 })), { maxLength: 20 });
    fc.assert(
      fc.property(sizes, splits, (counts, wanted) => {
        const table = tableOf(counts);
        for (const [which, suspect] of wanted) {
          const whole = order(table).filter((batch) => table.files(batch) > 1);
          const batch = whole[which % Math.max(1, whole.length)];
          if (batch !== undefined) table.split(batch, splitSizes(table.files(batch), suspect));
        }
        let next = 0;
        for (const batch of order(table)) {
          expect(table.first(batch)).toBe(next);
          next += table.files(batch);
        }
        expect(next).toBe(sum(counts));
      }),
    );
  });
});

function tableOf(counts: readonly number[]): BatchTable {
  const table = new BatchTable();
  let first = 0;
  for (const count of counts) {
    table.append({ first, count });
    first += count;
  }
  return table;
}

/** Mini-batches that stand for themselves, in input order. */
function order(table: BatchTable): readonly number[] {
  const found: number[] = [];
  for (let batch = table.head; batch !== noBatch; batch = table.next(batch)) {
    if (table.state(batch) !== 'split') found.push(batch);
  }
  return found;
}

describe('planning', () => {
  const size = fc.oneof(
    fc.integer({ min: 1, max: 50 }).map((files) => ({ kind: 'files' as const, files })),
    fc.integer({ min: 1, max: 5_000 }).map((bytes) => ({ kind: 'bytes' as const, bytes })),
  );
  const pages = fc.array(fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 120 }), { maxLength: 6 });

  test('every file is in one mini-batch, in order, however the listing is paged', () => {
    fc.assert(
      fc.property(pages, size, (given, wanted) => {
        const plan = (paged: readonly (readonly number[])[]): readonly number[] => {
          let open = emptyCut;
          const cuts: number[] = [];
          for (const page of paged) {
            const { sizes, open: rest } = cutPage(open, page, wanted);
            cuts.push(...sizes);
            open = rest;
          }
          return [...cuts, ...cutEnd(open).sizes];
        };
        const cuts = plan(given);
        const files = given.flat();
        expect(sum(cuts)).toBe(files.length);
        expect(cuts.every((count) => count >= 1)).toBe(true);
        expect(plan([files])).toEqual(cuts);
        let at = 0;
        for (const [index, count] of cuts.entries()) {
          const bytes = sum(files.slice(at, at + count));
          at += count;
          const next = files[at] ?? 0;
          const isLast = index === cuts.length - 1;
          if (wanted.kind === 'files') expect(isLast ? count <= wanted.files : count === wanted.files).toBe(true);
          // Full, but for the last one; and never above the wish unless a file is larger by itself.
          if (wanted.kind === 'bytes') expect(isLast || bytes + next > wanted.bytes).toBe(true);
          if (wanted.kind === 'bytes' && count > 1) expect(bytes).toBeLessThanOrEqual(wanted.bytes);
        }
      }),
    );
  });
});

/** A mini-batch of a random table: what became of it, its bytes, and which columns it has. */
const committed = fc.record({
  state: fc.constantFrom(
    'committed' as const,
    'committed' as const,
    'committed' as const,
    'quarantined' as const,
    'pending' as const,
  ),
  bytes: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 3_000_000 })),
  schema: fc.constantFrom(0, 0, 0, 0, 1),
});

function stagedJob(
  rows: readonly {
    readonly state: 'committed' | 'quarantined' | 'pending';
    readonly bytes: number;
    readonly schema: number;
  }[],
): Job {
  const job = newJob({ job: jobName('job-1'), deployment, inputPath: '/in', outputDir: '/out', wallMs: 0 }, 1);
  job.nodeNames.push(nodeName('n1'));
  job.schemas.push({ columns: ['a:int'], prologue: 'a\n' }, { columns: ['b:int'], prologue: 'b\n' });
  rows.forEach(({ state, bytes, schema }, index) => {
    const batch = job.batches.append({ first: index, count: 1 });
    job.batches.setState(batch, state);
    if (state !== 'committed') return;
    job.batches.setPlace(
      batch,
      bytes === 0 ? noPlace : { segment: 1 + (index % 3), offset: index, length: bytes, crc32: index },
    );
    job.batches.setCommit(batch, {
      rows: bytes > 0 ? 1 : 0,
      schema: bytes > 0 ? schema : -1,
      token: { epoch: 1, counter: index + 1 },
      node: 0,
    });
    if (bytes > 0) job.segments.set(1 + (index % 3), (job.segments.get(1 + (index % 3)) ?? 0) + 1);
  });
  job.cursor = job.batches.head;
  return job;
}

describe('splicing', () => {
  test('copies take what has its turn, in input order, end to end, and stop at the first hole or at other columns', () => {
    fc.assert(
      fc.property(fc.array(committed, { minLength: 1, maxLength: 60 }), (rows) => {
        const job = stagedJob(rows);
        const ledger = newLedger({ heartbeatMs: null });
        countStaged(ledger, job);
        const copied: number[] = [];
        let end = 0;
        let withdrawn: number | null = null;
        for (let events = copyEvents(job); events.length > 0 && withdrawn === null; events = copyEvents(job)) {
          for (const event of events) {
            if (event.kind === 'SchemaFixed') {
              schemaFixed(job, event.schema);
              end += 2;
            } else if (event.kind === 'CopyStarted') {
              const { batches, toOffset, length } = event.copy;
              expect(toOffset).toBe(end);
              expect(length).toBe(sum(batches.map((batch) => job.batches.place(batch).length)));
              expect(batches.length).toBeLessThanOrEqual(limits.copyBatchesMax);
              if (batches.length > 1) expect(length).toBeLessThanOrEqual(limits.copyBytesMax);
              copyStarted(job, event);
              expect(copyEvents(job)).toEqual([]);
              appended(ledger, job, { kind: 'Appended', job: job.name, batches, offset: toOffset, dropped: [] });
              copied.push(...batches);
              end += length;
            } else if (event.kind === 'AttemptFailed') withdrawn = event.batch;
          }
        }
        const hole = rows.findIndex(({ state }) => state === 'pending');
        const due = rows.flatMap(({ state, bytes, schema }, index) => {
          return state === 'committed' && bytes > 0 && (hole < 0 || index < hole) ? [{ index, schema }] : [];
        });
        const other = due.find(({ schema }) => schema !== due[0]?.schema)?.index ?? null;
        expect(withdrawn).toBe(other);
        expect(copied).toEqual(due.map(({ index }) => index).filter((index) => other === null || index < other));
        expect(job.outputCommitted).toBe(end);
        for (const batch of copied) expect(job.batches.place(batch).segment).toBe(outputSegment);
        const left = sum([...job.segments.values()]);
        expect(left).toBe(rows.filter(({ state, bytes }) => state === 'committed' && bytes > 0).length - copied.length);
      }),
    );
  });
});

describe('segments of a sealed output', () => {
  const batches = fc.array(
    fc.record({ count: fc.integer({ min: 1, max: 5 }), text: fc.string({ maxLength: 40 }), isCommitted: fc.boolean() }),
    { maxLength: 40 },
  );

  test('tile bytes, files, rows and mini-batches, and have the checksum of their bytes, however the file is read', () => {
    fc.assert(
      fc.property(
        batches,
        fc.string({ maxLength: 10 }),
        fc.string({ maxLength: 10 }),
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: 50 }),
        (given, head, tail, segmentBytes, blockBytes) => {
          const [prologue, epilogue] = [head, tail].map((text) => Buffer.from(text)) as [Buffer, Buffer];
          let first = 0;
          const places = given.map(({ count, text, isCommitted }): OutputPlace => {
            const bytes = Buffer.from(isCommitted ? text : '');
            first += count;
            return {
              first: first - count,
              count,
              rows: bytes.length,
              bytes: bytes.length,
              crc32: crc32(bytes),
              isCommitted,
            };
          });
          const file = Buffer.concat([
            prologue,
            ...given.map(({ text, isCommitted }) => Buffer.from(isCommitted ? text : '')),
            epilogue,
          ]);
          const lines: SegmentLine[] = [];
          const walk = new SegmentWalk({ prologue, places, epilogue }, (line) => lines.push(line), segmentBytes);
          for (let at = 0; at < file.length; at += blockBytes) {
            const block = file.subarray(at, at + blockBytes);
            expect(walk.push(block)).toBe(block.length);
          }
          expect(walk.end()).toBe(file.length);
          expect(walk.damaged).toEqual([]);
          let [offset, file0] = [0, 0];
          for (const line of lines) {
            expect([line.offset, line.first]).toEqual([offset, file0]);
            expect(line.crc32).toBe(
              crc32(file.subarray(offset, offset + line.bytes))
                .toString(16)
                .padStart(8, '0'),
            );
            offset += line.bytes;
            file0 += line.files;
          }
          expect([offset, file0]).toEqual([file.length, first]);
          expect(sum(lines.map(({ rows }) => rows))).toBe(file.length - prologue.length - epilogue.length);
          const last = lines.at(-1);
          if (epilogue.length > 0) expect([last?.bytes, last?.files]).toEqual([epilogue.length, 0]);
          expect(sum(lines.map((line) => line.mini_batches))).toBe(
            places.filter(({ isCommitted }) => isCommitted).length,
          );
        },
      ),
    );
  });
});

const deployment: Deployment = {
  ...{ name: 'digits', scorer: { kind: 'node', script: 'a.mjs' }, model: null },
  code: { kind: 'folder', name: 'code', digest: digest(`sha256:${'0'.repeat(64)}`), bytes: 1 },
  environment: { kind: 'host', python: null },
  settings: {
    ...{
      miniBatchSize: { kind: 'files', files: 1 },
      triesMax: 3,
      timeoutMs: 1_000,
      errorThreshold: -1,
      isolation: 'file',
    },
    ...{ outputAction: 'append_row', outputFileName: 'predictions.csv', outputFormat: 'csv', loggingLevel: 'info' },
    ...{ environmentVariables: {}, instanceCountMax: null, concurrencyPerInstanceMax: null, recursive: true },
    ...{ customOutput: 'collected', memoryBytesMax: null, progressTimeoutMs: null, speculation: 'auto' },
  },
};
