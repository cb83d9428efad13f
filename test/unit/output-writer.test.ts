import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { BatchError, Failure } from '../../common/core/batch-error.ts';
import { OutputWriter } from '../../coordinator/output/output-writer.ts';
import { planGroup, type OutputOperation, type StagedSlice } from '../../coordinator/output/operations.ts';
import type { OutputRecovery } from '../../coordinator/output/recover-output.ts';
import { matching } from '../helpers/matching.ts';
import { MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';
import { quietTurns, turnsUntil } from '../helpers/turns.ts';

const partial = '/out/predictions.csv.partial';
const fresh: OutputRecovery = { outputEnd: 0, prologue: null, liveSegments: new Set() };

interface Rig {
  readonly disk: MemoryFileSystem;
  readonly writer: OutputWriter;
  readonly done: number[];
  readonly stalls: (Failure | null)[];
  readonly fatal: BatchError[];
}

async function rig(disk: MemoryFileSystem = new MemoryFileSystem(), recovery = fresh): Promise<Rig> {
  await disk.makeDir('/out');
  const seen = { done: [] as number[], stalls: [] as (Failure | null)[], fatal: [] as BatchError[] };
  const writer = new OutputWriter({
    outputDir: '/out',
    outputFileName: 'predictions.csv',
    stagingDir: '/state/staging',
    fileSystem: disk,
    delay: () => new Promise((resolve) => setImmediate(resolve)),
    onDone: (ids) => seen.done.push(...ids),
    onStall: (failure) => seen.stalls.push(failure),
    onFatal: (error) => seen.fatal.push(error),
  });
  await writer.recover(recovery);
  return { disk, writer, ...seen };
}

const bytes = (text: string): Uint8Array => Buffer.from(text);
const append = (id: number, offset: number, text: string): OutputOperation => ({
  kind: 'append',
  id,
  offset,
  pieces: [bytes(text.slice(0, 2)), bytes(text.slice(2))],
});
const stage = (id: number, segment: number, offset: number, text: string): OutputOperation => ({
  kind: 'stage',
  id,
  segment,
  offset,
  pieces: [bytes(text)],
});
const slice = (segment: number, offset: number, text: string): StagedSlice => ({
  segment,
  offset,
  length: text.length,
  crc32: crc32(text),
});

describe('writing', () => {
  it('takes a thousand results with one write and one sync', async () => {
    const { disk, writer, done } = await rig();
    const before = { ...disk.counts };
    for (let id = 0; id < 1_000; id += 1) writer.enqueue(append(id, id * 4, `r${String(id).padStart(3, '0')}`));
    expect(writer.pendingBytes).toBe(4_000);
    await turnsUntil(() => done.length === 1_000, 'all results');
    expect(done).toEqual(Array.from({ length: 1_000 }, (_, id) => id));
    expect(disk.counts.datasync - before.datasync).toBe(1);
    expect(disk.counts.write - before.write).toBe(1);
    expect(disk.counts.syncDir - before.syncDir).toBe(0);
    expect(disk.content(partial)?.toString().slice(0, 12)).toBe('r000r001r002');
    expect(writer.pendingBytes).toBe(0);
    await writer.close();
  });

  it('syncs each touched file once, stages ahead of the order, and copies when the turn comes', async () => {
    const { disk, writer, done } = await rig();
    writer.enqueue(stage(1, 1, 0, 'CCCC'));
    writer.enqueue(stage(2, 1, 4, 'BB'));
    writer.enqueue(append(3, 0, 'AAA'));
    const before = { ...disk.counts };
    await turnsUntil(() => done.length === 3, 'the first group');
    expect(disk.counts.datasync - before.datasync).toBe(2);
    expect(disk.counts.syncDir - before.syncDir).toBe(1);
    writer.enqueue({ kind: 'copy', id: 4, from: [slice(1, 4, 'BB'), slice(1, 0, 'CCCC')], toOffset: 3 });
    writer.enqueue({ kind: 'drop', id: 5, segment: 1 });
    writer.enqueue(append(6, 9, 'DD'));
    await turnsUntil(() => done.length === 6, 'the second group');
    expect(done).toEqual([1, 2, 3, 4, 5, 6]);
    expect(disk.content(partial)?.toString()).toBe('AAABBCCCCDD');
    expect(disk.content('/state/staging/segment-000001')).toBeNull();
    await writer.close();
  });

  it('copies a thousand neighbours with one read and one write', async () => {
    const { disk, writer, done } = await rig();
    const rows = Array.from({ length: 1_000 }, (_, id) => `r${String(id).padStart(3, '0')}`);
    for (const [id, row] of rows.entries()) writer.enqueue(stage(id, 1, id * 4, row));
    await turnsUntil(() => done.length === 1_000, 'all results');
    const before = { ...disk.counts };
    writer.enqueue({ kind: 'copy', id: 1_000, from: rows.map((row, id) => slice(1, id * 4, row)), toOffset: 0 });
    await turnsUntil(() => done.length === 1_001, 'the copy');
    expect([disk.counts.read - before.read, disk.counts.write - before.write]).toEqual([1, 1]);
    expect(disk.content(partial)?.toString()).toBe(rows.join(''));
    await writer.close();
  });

  it('copies every second of a thousand with one read, whatever their order, and what lies far apart with one each', async () => {
    const { disk, writer, done } = await rig();
    const rows = Array.from({ length: 1_000 }, (_, id) => `r${String(id).padStart(3, '0')}`);
    for (const [id, row] of rows.entries()) writer.enqueue(stage(id, 1, id * 4, row));
    const far = 1_000_000;
    writer.enqueue(stage(1_000, 1, far, 'last'));
    await turnsUntil(() => done.length === 1_001, 'all results');
    const before = disk.counts.read;
    const turned = rows.filter((_, id) => id % 2 === 1).toReversed();
    const from = [...turned.map((row) => slice(1, rows.indexOf(row) * 4, row)), slice(1, far, 'last')];
    writer.enqueue({ kind: 'copy', id: 1_001, from, toOffset: 0 });
    await turnsUntil(() => done.length === 1_002, 'the copy');
    expect(disk.counts.read - before).toBe(2);
    expect(disk.content(partial)?.toString()).toBe(`${turned.join('')}last`);
    await writer.close();
  });

  it('tells damage of a slice between others that nobody wants', async () => {
    const { disk, writer, done, fatal } = await rig();
    for (const [id, text] of ['AAAA', 'BBBB', 'CCCC', 'DDDD'].entries()) writer.enqueue(stage(id, 1, id * 4, text));
    await turnsUntil(() => done.length === 4, 'all results');
    writer.enqueue({ kind: 'copy', id: 4, from: [slice(1, 0, 'AAAA'), slice(1, 8, 'CCcC')], toOffset: 0 });
    await turnsUntil(() => fatal.length === 1, 'the failure');
    expect(fatal[0]).toMatchObject({ code: 'OUTPUT_CORRUPT', message: matching(/segment 1, bytes 8 to 12/) });
    expect(disk.content(partial)?.toString()).toBe('');
    await writer.close();
  });

  it('can copy what the same group stages', async () => {
    const { disk, writer, done } = await rig();
    writer.enqueue(stage(1, 1, 0, 'XYZ'));
    writer.enqueue({ kind: 'copy', id: 2, from: [slice(1, 0, 'XYZ')], toOffset: 0 });
    await turnsUntil(() => done.length === 2, 'both');
    expect(disk.content(partial)?.toString()).toBe('XYZ');
    await writer.close();
  });

  it('plans neighbours as one write and drops behind everything', () => {
    const plan = planGroup([
      { kind: 'drop', id: 0, segment: 9 },
      append(1, 0, 'ab'),
      stage(2, 4, 0, 'x'),
      append(3, 2, 'cd'),
      append(4, 100, 'far'),
    ]);
    expect(
      plan.steps.map((step) =>
        step.kind === 'write' ? [step.target, step.offset, Buffer.concat(step.pieces).toString()] : [],
      ),
    ).toEqual([
      [null, 0, 'abcd'],
      [4, 0, 'x'],
      [null, 100, 'far'],
    ]);
    expect([plan.touched, plan.dropped]).toEqual([[null, 4], [9]]);
  });

  it('refuses to copy bytes that the disk has changed', async () => {
    for (const damage of ['changed', 'short'] as const) {
      const { disk, writer, done, fatal } = await rig();
      writer.enqueue(stage(1, 1, 0, 'good'));
      await turnsUntil(() => done.length === 1, 'the stage');
      disk.put('/state/staging/segment-000001', bytes(damage === 'short' ? 'go' : 'evil'));
      const broken = await rig(disk, { ...fresh, liveSegments: new Set([1]) });
      broken.writer.enqueue({ kind: 'copy', id: 2, from: [slice(1, 0, 'good')], toOffset: 0 });
      broken.writer.enqueue(append(3, 4, 'next'));
      await turnsUntil(() => broken.fatal.length === 1, 'the refusal');
      expect(broken.fatal[0]).toMatchObject({
        code: 'OUTPUT_CORRUPT',
        message: expect.stringContaining('staging segment 1, bytes 0 to 4') as string,
      });
      await quietTurns();
      expect(broken.done).toEqual([]);
      await broken.writer.close();
      await writer.close();
      expect(fatal).toEqual([]);
    }
  });
});

describe('a large result', () => {
  it('has a segment of its own, is durable when adopted, and is copied like any other', async () => {
    const { disk, writer, done } = await rig();
    const sink = writer.openSegment(7);
    const first = sink.write(0, bytes('hello '));
    const second = sink.write(6, bytes('world'));
    await Promise.all([first, second]);
    expect(await sink.sync()).toBe(crc32('hello world'));
    const before = disk.counts.datasync;
    writer.enqueue({ kind: 'adopt', id: 1, segment: 7 });
    await turnsUntil(() => done.length === 1, 'the adoption');
    expect(disk.counts.datasync).toBe(before);
    disk.powerCut();
    const again = await rig(disk, { ...fresh, liveSegments: new Set([7]) });
    again.writer.enqueue({ kind: 'copy', id: 2, from: [slice(7, 0, 'hello world')], toOffset: 0 });
    await turnsUntil(() => again.done.length === 1, 'the copy');
    expect(disk.content(partial)?.toString()).toBe('hello world');
    await again.writer.close();
    await writer.close();
  });

  it('is made durable by its adoption when nobody has done so before', async () => {
    const { disk, writer, done } = await rig();
    const sink = writer.openSegment(7);
    void sink.write(0, bytes('hello '));
    void sink.write(6, bytes('world'));
    writer.enqueue({ kind: 'adopt', id: 1, segment: 7 });
    await turnsUntil(() => done.length === 1, 'the adoption');
    disk.powerCut();
    expect(disk.content('/state/staging/segment-000007')?.toString()).toBe('hello world');
    await writer.close();
  });

  it('refuses a piece out of order and leaves nothing when abandoned', async () => {
    const { disk, writer } = await rig();
    const sink = writer.openSegment(7);
    await sink.write(0, bytes('abc'));
    await expect(sink.write(5, bytes('x'))).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      message: matching(/byte 5, wanted is 3/),
    });
    await sink.abandon();
    expect(disk.paths()).toEqual([partial]);
    const anew = writer.openSegment(7);
    await anew.write(0, bytes('zz'));
    expect(await anew.sync()).toBe(crc32('zz'));
    await writer.close();
  });
});

describe('a full disk', () => {
  it('may refuse to have a segment opened anew, and nothing is closed twice', async () => {
    const { disk, writer, fatal } = await rig();
    writer.enqueue(stage(1, 7, 0, 'before'));
    await quietTurns();
    disk.fail = (operation, path) =>
      operation === 'open' && path.endsWith('segment-000007') ? systemError('ENOSPC', path) : null;
    const upload = writer.openSegment(7).write(0, bytes('after'));
    upload.catch(() => undefined);
    await quietTurns();
    await writer.close();
    await expect(upload).rejects.toMatchObject({ code: 'ENOSPC' });
    expect([fatal, disk.openFiles]).toEqual([[], 0]);
  });

  it('stalls with path and free bytes, repeats the group, and goes on by itself', async () => {
    const { disk, writer, done, stalls, fatal } = await rig();
    disk.capacityBytes = 6;
    writer.enqueue(append(1, 0, 'aaaa'));
    writer.enqueue(stage(2, 1, 0, 'bbbb'));
    const sink = writer.openSegment(2);
    const upload = sink.write(0, bytes('cccc'));
    await turnsUntil(() => stalls.length === 1, 'the stall');
    expect(stalls[0]).toMatchObject({ code: 'DISK_FULL', message: matching(/^\/(out|state\/staging) .*0 bytes free/) });
    await quietTurns();
    expect([done, stalls.length]).toEqual([[], 1]);
    disk.capacityBytes = 100;
    await turnsUntil(() => done.length === 2 && stalls.length === 2, 'the end of the stall');
    await upload;
    expect(stalls[1]).toBeNull();
    expect(disk.content(partial)?.toString()).toBe('aaaa');
    expect(disk.content('/state/staging/segment-000001')?.toString()).toBe('bbbb');
    expect(await sink.sync()).toBe(crc32('cccc'));
    expect(fatal).toEqual([]);
    await writer.close();
  });

  it('can be closed, and abandoned, while it waits', async () => {
    const { disk, writer, done, stalls, fatal } = await rig();
    disk.capacityBytes = 0;
    writer.enqueue(append(1, 0, 'aaaa'));
    const sink = writer.openSegment(2);
    const upload = sink.write(0, bytes('cccc'));
    await turnsUntil(() => stalls.length === 1, 'the stall');
    await Promise.all([expect(upload).rejects.toThrow(), sink.abandon()]);
    await writer.close();
    expect([done, fatal]).toEqual([[], []]);
  });
});

describe('a broken disk', () => {
  for (const operation of ['write', 'datasync', 'syncDir', 'remove'] as const) {
    it(`ends the writer when ${operation} fails`, async () => {
      const { disk, writer, done, fatal } = await rig();
      disk.fail = (found, path) => (found === operation ? systemError('EIO', path) : null);
      writer.enqueue(stage(1, 1, 0, 'x'));
      writer.enqueue({ kind: 'drop', id: 2, segment: 3 });
      await turnsUntil(() => fatal.length === 1, 'the end');
      expect(fatal[0]).toMatchObject({
        code: 'STATE_UNWRITABLE',
        message: matching(/^\/out cannot be written to: EIO/),
      });
      writer.enqueue(append(3, 0, 'abc'));
      await quietTurns();
      expect([done, fatal.length]).toEqual([[], 1]);
      await writer.close();
    });
  }
});

describe('recovery', () => {
  it('cuts what was not committed, writes the prologue anew and removes unknown segments', async () => {
    const disk = new MemoryFileSystem();
    disk.put(partial, bytes('a,b\n1,2\nuncommitted'));
    disk.put('/state/staging/segment-000001', bytes('live'));
    disk.put('/state/staging/segment-000002', bytes('dead'));
    disk.put('/state/staging/notes.txt', bytes('not ours'));
    const { writer } = await rig(disk, { outputEnd: 8, prologue: bytes('a,b\n'), liveSegments: new Set([1]) });
    expect(disk.content(partial)?.toString()).toBe('a,b\n1,2\n');
    expect(disk.paths()).toEqual([partial, '/state/staging/notes.txt', '/state/staging/segment-000001']);
    await writer.close();
    disk.put(partial, bytes('a,'));
    const again = await rig(disk, { outputEnd: 4, prologue: bytes('a,b\n'), liveSegments: new Set([1]) });
    disk.powerCut();
    expect(disk.content(partial)?.toString()).toBe('a,b\n');
    await again.writer.close();
  });

  it('leaves a sealed output alone, with what sealing has put behind the rows', async () => {
    const final = partial.replace(/\.partial$/, '');
    for (const [content, isSealed] of [
      ['a,b\n1,2\nend', true],
      ['a,b\n1,2\n', false],
    ] as const) {
      const disk = new MemoryFileSystem();
      disk.put(final, bytes(content));
      const wanted = { ...fresh, outputEnd: 8, epilogueBytes: 3 };
      if (isSealed) {
        await (await rig(disk, wanted)).writer.close();
        expect(disk.paths()).toEqual([final]);
      } else await expect(rig(disk, wanted)).rejects.toMatchObject({ code: 'OUTPUT_CORRUPT' });
    }
  });

  it('names what is gone', async () => {
    const disk = new MemoryFileSystem();
    disk.put(partial, bytes('short'));
    await expect(rig(disk, { ...fresh, outputEnd: 8 })).rejects.toMatchObject({
      code: 'OUTPUT_CORRUPT',
      message: matching(/predictions\.csv\.partial has 5 bytes, 8 were committed/),
    });
    await expect(rig(disk, { ...fresh, liveSegments: new Set([3]) })).rejects.toMatchObject({
      code: 'OUTPUT_CORRUPT',
      message: expect.stringContaining('segment-000003') as string,
    });
  });

  it('leaves an output that was sealed just before the crash', async () => {
    const disk = new MemoryFileSystem();
    disk.put('/out/predictions.csv', bytes('1234'));
    const { writer } = await rig(disk, { ...fresh, outputEnd: 4 });
    expect(disk.paths()).toEqual(['/out/predictions.csv']);
    await writer.close();
  });

  it('finds everything that was reported done, whichever operation the power fails at', async () => {
    const text = 'abcdefghijklmnopqrstuvwxyz';
    let rounds = 0;
    for (let changes = 1; ; changes += 1) {
      const { disk, writer, done, fatal } = await rig();
      disk.changesLeft = changes;
      disk.fail = () => (disk.changesLeft <= 0 ? systemError('EIO', 'killed') : null);
      writer.enqueue(append(1, 0, text.slice(0, 5)));
      writer.enqueue(stage(2, 1, 0, text.slice(20)));
      await quietTurns();
      writer.enqueue(stage(3, 1, 6, text.slice(5, 20)));
      await quietTurns();
      writer.enqueue({
        kind: 'copy',
        id: 4,
        from: [slice(1, 6, text.slice(5, 20)), slice(1, 0, text.slice(20))],
        toOffset: 5,
      });
      await quietTurns();
      writer.enqueue({ kind: 'drop', id: 5, segment: 1 });
      await quietTurns();
      const isWhole = fatal.length === 0;
      disk.fail = () => null;
      disk.powerCut();
      const isCopied = done.includes(4);
      const outputEnd = isCopied ? 26 : done.includes(1) ? 5 : 0;
      const live = new Set(done.includes(2) && !isCopied ? [1] : []);
      const again = await rig(disk, { outputEnd, prologue: null, liveSegments: live });
      expect(disk.content(partial)?.toString()).toBe(text.slice(0, outputEnd));
      const staged = disk.content('/state/staging/segment-000001')?.toString() ?? '';
      if (live.size > 0) expect(staged.startsWith(text.slice(20))).toBe(true);
      if (done.includes(3) && live.size > 0) expect(staged).toBe(text.slice(20) + text.slice(5, 20));
      await again.writer.close();
      rounds += 1;
      if (isWhole) break;
    }
    expect(rounds).toBeGreaterThan(8);
  });
});
