import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import { digest, jobName, nodeName, type Digest } from '../../common/core/ids.ts';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { createLog, silentLog, type Log } from '../../common/io/log.ts';
import { formatListing } from '../../common/storage/artifact-listing.ts';
import { NodeFiles } from '../../worker/node-files.ts';
import { ArtifactCache } from '../../worker/staging/artifact-cache.ts';
import type { BulkSource, InputRequest } from '../../worker/staging/bulk-source.ts';
import { Gate, forEachBounded } from '../../worker/staging/gate.ts';
import { InputStager, type StageRequest } from '../../worker/staging/input-stager.ts';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'batchmill-staging-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const digestOf = (bytes: string): Digest => digest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);

/** Bytes from memory, in pieces of three; `break` fails the next fetch after so many bytes. */
class MemorySource implements BulkSource {
  readonly blobs = new Map<string, string>();
  readonly inputs = new Map<number, string | BatchError>();
  readonly asked: string[] = [];
  readonly breaks: number[] = [];
  underWay = 0;
  underWayMax = 0;

  add(text: string): Digest {
    this.blobs.set(digestOf(text), text);
    return digestOf(text);
  }

  artifact(name: Digest, offset: number): AsyncIterable<Uint8Array> {
    this.asked.push(`${this.blobs.get(name) ?? name}@${offset}`);
    const text = this.blobs.get(name) ?? new BatchError('ARTIFACT_NOT_FOUND', `no ${name}`);
    return this.#pieces(text, offset);
  }

  input({ ordinal }: InputRequest, offset: number): AsyncIterable<Uint8Array> {
    this.asked.push(`${ordinal}@${offset}`);
    return this.#pieces(this.inputs.get(ordinal) ?? new BatchError('INPUT_UNREADABLE', `no ${ordinal}`), offset);
  }

  async *#pieces(text: string | BatchError, offset: number): AsyncGenerator<Uint8Array, void, void> {
    if (text instanceof BatchError) throw text;
    const breakAt = this.breaks.shift() ?? Infinity;
    this.underWay += 1;
    this.underWayMax = Math.max(this.underWayMax, this.underWay);
    try {
      for (let at = offset; at < text.length; at += 3) {
        if (at - offset >= breakAt) throw new BatchError('COORDINATOR_UNREACHABLE', 'broken');
        await Promise.resolve();
        yield Buffer.from(text.slice(at, at + 3));
      }
    } finally {
      this.underWay -= 1;
    }
  }
}

const noDelay = async (): Promise<void> => undefined;

describe('the artifact cache', () => {
  const signal = new AbortController().signal;
  const cacheOf = (source: BulkSource, bytesMax = 1_000, log = silentLog): ArtifactCache =>
    new ArtifactCache({
      root: join(dir, 'artifacts'),
      bytesMax,
      source,
      log,
      clock: systemClock,
      delay: noDelay,
      signal,
    });
  const logLines = (): { readonly lines: string[]; readonly log: Log } => {
    const lines: string[] = [];
    const write = (line: string): void => void lines.push(line);
    return { lines, log: createLog({ write, format: 'text', level: 'warn', clock: systemClock }) };
  };
  const fileOf = (name: string, text: string): Artifact => ({
    kind: 'file',
    name,
    digest: digestOf(text),
    bytes: text.length,
  });

  it('puts a file under its own name with nothing beside it, read-only, and fetches it once', async () => {
    const source = new MemorySource();
    source.add('model bytes');
    const cache = cacheOf(source);
    const wanted = fileOf('model.pt', 'model bytes');
    const [first, second] = await Promise.all([cache.localise(wanted), cache.localise(wanted)]);
    expect(second).toEqual(first);
    expect(readdirSync(first.dir)).toEqual(['model.pt']);
    expect(readFileSync(first.path, 'utf8')).toBe('model bytes');
    expect(statSync(first.path).mode & 0o222).toBe(0);
    expect(await cacheOf(source).localise(wanted)).toEqual(first);
    expect(source.asked).toEqual(['model bytes@0']);
  });

  it('keeps the same bytes under two names apart', async () => {
    const source = new MemorySource();
    source.add('same');
    const cache = cacheOf(source);
    const [a, b] = [await cache.localise(fileOf('a.pt', 'same')), await cache.localise(fileOf('b.pt', 'same'))];
    expect([readdirSync(a.dir), readdirSync(b.dir)]).toEqual([['a.pt'], ['b.pt']]);
  });

  it('makes a folder from its listing, with what may be executed', async () => {
    const source = new MemorySource();
    const files = [
      { path: 'MLmodel', digest: source.add('flavors'), bytes: 7, mode: 0o644 },
      { path: 'bin/run.sh', digest: source.add('#!/bin/sh'), bytes: 9, mode: 0o755 },
      { path: 'data/deep/twin', digest: source.add('flavors'), bytes: 7, mode: 0o644 },
    ];
    const listing = formatListing(files).toString();
    const wanted: Artifact = { kind: 'folder', name: 'model', digest: source.add(listing), bytes: 23 };
    const { dir: modelDir, path } = await cacheOf(source).localise(wanted);
    expect(readdirSync(modelDir)).toEqual(['model']);
    expect(readdirSync(path, { recursive: true }).sort()).toEqual([
      'MLmodel',
      'bin',
      'bin/run.sh',
      'data',
      'data/deep',
      'data/deep/twin',
    ]);
    expect(statSync(join(path, 'bin/run.sh')).mode & 0o777).toBe(0o555);
    expect(readFileSync(join(path, 'data/deep/twin'), 'utf8')).toBe('flavors');
  });

  it('fetches anew what scripts have changed, removed or added, and nothing else', async () => {
    const source = new MemorySource();
    const files = ['a', 'b', 'c', 'd/e'].map((path) => ({
      path,
      digest: source.add(`bytes of ${path}`),
      bytes: `bytes of ${path}`.length,
      mode: 0o644,
    }));
    const listing = source.add(formatListing(files).toString());
    const wanted: Artifact = { kind: 'folder', name: 'model', digest: listing, bytes: 36 };
    const { lines, log } = logLines();
    const cache = cacheOf(source, 1_000, log);
    const { dir: modelDir, path } = await cache.localise(wanted);
    const inode = statSync(join(path, 'b')).ino;
    source.asked.length = 0;
    await cache.check(wanted);
    expect([source.asked, lines]).toEqual([[], []]);
    writeFileSync(join(path, 'a'), 'BYTES OF a');
    rmSync(join(path, 'c'));
    rmSync(join(path, 'd'), { recursive: true });
    writeFileSync(join(path, 'd'), 'no folder');
    writeFileSync(join(modelDir, 'beside'), '');
    await cache.check(wanted);
    const read = (): string[] => files.map((file) => readFileSync(join(path, file.path), 'utf8'));
    const whole = files.map((file) => `bytes of ${file.path}`);
    expect([read(), readdirSync(modelDir), readdirSync(path)]).toEqual([whole, ['model'], ['a', 'b', 'c', 'd']]);
    expect([source.asked.sort(), statSync(join(path, 'b')).ino]).toEqual([
      ['bytes of a@0', 'bytes of c@0', 'bytes of d/e@0'],
      inode,
    ]);
    expect(lines).toEqual([expect.stringMatching(/not as it was fetched.*differ=3 surplus=2 first=model\/a/)]);
    // Another process finds the same, and whoever killed the first one in the midst of anything.
    rmSync(join(path, 'b'));
    rmSync(`${modelDir}.listing`);
    await cacheOf(source).localise(wanted);
    expect([read(), readdirSync(join(dir, 'artifacts')).sort()]).toEqual([
      whole,
      [basename(modelDir), `${basename(modelDir)}.listing`],
    ]);
  });

  it('finds that a file was changed, too', async () => {
    const source = new MemorySource();
    source.add('model');
    const cache = cacheOf(source);
    const { path } = await cache.localise(fileOf('m', 'model'));
    writeFileSync(path, 'MODEL');
    await cache.localise(fileOf('m', 'model'));
    expect(readFileSync(path, 'utf8')).toBe('model');
  });

  it('is never seen with half of what it removes', async () => {
    /** By one question: between two, the sweep may come. */
    const entriesOf = (folder: string): number => {
      try {
        return readdirSync(folder).length;
      } catch {
        return 0;
      }
    };
    const source = new MemorySource();
    const files = Array.from({ length: 200 }, (_, index) => ({ path: `${index}`, digest: source.add('x'), bytes: 1 }));
    const listing = source.add(formatListing(files.map((file) => ({ ...file, mode: 0o644 }))).toString());
    const wanted: Artifact = { kind: 'folder', name: 'model', digest: listing, bytes: 200 };
    const cache = cacheOf(source);
    const { dir: modelDir, path } = await cache.localise(wanted);
    cache.release(wanted);
    utimesSync(modelDir, 0, 0);
    let isSwept = false;
    const sweep = cache.sweep().finally(() => (isSwept = true));
    const counts = new Set<number>();
    while (!isSwept) {
      counts.add(entriesOf(path));
      await new Promise((resolve) => void setImmediate(resolve));
    }
    await sweep;
    expect([[...counts], readdirSync(join(dir, 'artifacts'))]).toEqual([[200, 0], []]);
  });

  it('goes on where a connection broke', async () => {
    const source = new MemorySource();
    source.add('0123456789');
    source.breaks.push(4, 2);
    const { path } = await cacheOf(source).localise(fileOf('m', '0123456789'));
    expect(readFileSync(path, 'utf8')).toBe('0123456789');
    expect(source.asked.map((ask) => ask.split('@')[1])).toEqual(['0', '6', '9']);
  });

  it('gives up when nothing comes for several times in a row, and leaves nothing behind', async () => {
    const source = new MemorySource();
    source.add('0123456789');
    source.breaks.push(...new Array<number>(50).fill(0));
    await expect(cacheOf(source).localise(fileOf('m', '0123456789'))).rejects.toMatchObject({
      code: 'COORDINATOR_UNREACHABLE',
    });
    expect(source.asked).toHaveLength(limits.fetchFailuresMax);
    expect(readdirSync(join(dir, 'artifacts'))).toEqual([]);
  });

  it('fetches twice what comes out wrong, then refuses it and leaves nothing behind', async () => {
    const source = new MemorySource();
    source.blobs.set(digestOf('right'), 'wrong');
    await expect(cacheOf(source).localise(fileOf('m', 'right'))).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
    expect(source.asked).toHaveLength(2);
    expect(readdirSync(join(dir, 'artifacts'))).toEqual([]);
    source.blobs.set(digestOf('right'), 'right');
    await expect(cacheOf(source).localise(fileOf('m', 'right'))).resolves.toBeDefined();
  });

  it('refuses a listing that leads out of its folder, and a name that is none', async () => {
    const source = new MemorySource();
    const line = JSON.stringify({ path: '../../evil', digest: source.add('x'), bytes: 1, mode: 0o644 });
    const wanted: Artifact = { kind: 'folder', name: 'm', digest: source.add(`${line}\n`), bytes: 1 };
    await expect(cacheOf(source).localise(wanted)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
    for (const name of ['../m', 'a/b', '', '..', '/m']) {
      expect(() => cacheOf(source).localise(fileOf(name, 'x'))).toThrowError(
        expect.objectContaining({ code: 'REQUEST_INVALID' }),
      );
    }
    expect(existsSync(join(dir, 'evil'))).toBe(false);
  });

  it('removes what was not used for long and what was left half done, and nothing else', async () => {
    const source = new MemorySource();
    const cache = cacheOf(source);
    for (const name of ['old', 'new']) source.add(name);
    const old = await cache.localise(fileOf('old', 'old'));
    const recent = await cache.localise(fileOf('new', 'new'));
    const longAgo = (Date.now() - limits.artifactUnusedMsMax) / 1_000 - 60;
    const partials = [join(dir, 'artifacts', '.partial-1-old'), join(dir, 'artifacts', '.partial-1-new')];
    for (const partial of partials) mkdirSync(partial);
    utimesSync(old.dir, longAgo, longAgo);
    utimesSync(partials[0] as string, longAgo, longAgo);
    await cache.sweep();
    // In use, however long ago it was asked for.
    expect([old.dir, recent.dir, ...partials].map(existsSync)).toEqual([true, true, false, true]);
    cache.release(fileOf('old', 'old'));
    await cache.sweep();
    expect([old.dir, recent.dir, ...partials].map(existsSync)).toEqual([false, true, false, true]);
  });

  it('keeps within its bound: what was used longest ago goes, never what is in use or was a moment ago', async () => {
    const source = new MemorySource();
    const texts = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(40));
    texts.forEach((text) => source.add(text));
    const wanted = texts.map((text) => fileOf(text.slice(0, 1), text));
    const [a, b, c, d] = wanted as [Artifact, Artifact, Artifact, Artifact];
    const ofOthers = cacheOf(source, 200);
    const dirs = [await ofOthers.localise(a), await ofOthers.localise(b), await ofOthers.localise(c)].map(
      (one) => one.dir,
    );
    const agesMs = [3, 1, 2].map((times) => times * limits.artifactFreshMs + 60_000);
    const aged = (): void =>
      dirs.forEach((place, index) => {
        const then = (Date.now() - (agesMs[index] as number)) / 1_000;
        utimesSync(place, then, then);
      });
    const cache = cacheOf(source, 130);
    await cache.localise(a);
    aged();
    // a is the oldest but in use; of the others c is.
    const last = await cache.localise(d);
    expect([...dirs, last.dir].map(existsSync)).toEqual([true, true, false, true]);
    cache.release(a);
    await cacheOf(source, 85).sweep();
    expect([...dirs, last.dir].map(existsSync)).toEqual([false, true, false, true]);
    await cacheOf(source, 1).sweep();
    expect([...dirs, last.dir].map(existsSync)).toEqual([false, false, false, true]);
  });
});

describe('staging inputs', () => {
  const stage = (source: BulkSource, files: readonly InputFile[], overrides: Partial<StageRequest> = {}) =>
    new InputStager({ source, delay: noDelay }).stage({
      job: jobName('j'),
      inputRoot: join(dir, 'in'),
      reader: 'onnx',
      first: 100,
      files,
      dir: join(dir, 'staged'),
      signalOf: () => new AbortController().signal,
      ...overrides,
    });

  /** A file as it would be listed; written under the input root unless `isElsewhere`. */
  function listed(path: string, text: string): InputFile {
    const local = join(dir, 'in', path);
    mkdirSync(join(local, '..'), { recursive: true });
    writeFileSync(local, text);
    const { size, mtimeNs } = statSync(local, { bigint: true });
    return { path, sizeBytes: Number(size), identity: `${size}-${mtimeNs}` };
  }
  const elsewhere = (path: string, text: string): InputFile => ({
    path,
    sizeBytes: text.length,
    identity: `${text.length}-1`,
  });

  it('uses what it sees where it is, and asks nobody', async () => {
    const source = new MemorySource();
    const files = [listed('a.txt', 'A'), listed('sub/b.txt', 'B')];
    const staged = await stage(source, files);
    expect(staged.files).toEqual(files.map(({ path }) => ({ path: join(dir, 'in', path), name: path })));
    expect(staged.failed).toEqual([]);
    expect(source.asked).toEqual([]);
    await staged.release?.();
    expect(existsSync(join(dir, 'in', 'a.txt'))).toBe(true);
    expect(existsSync(join(dir, 'staged'))).toBe(false);
  });

  it('takes an input root that is a file for that file', async () => {
    const file = listed('one.csv', 'x');
    const staged = await stage(new MemorySource(), [file], { inputRoot: join(dir, 'in', 'one.csv') });
    expect(staged.files).toEqual([{ path: join(dir, 'in', 'one.csv'), name: 'one.csv' }]);
  });

  it('fetches what it does not see or what is another one here, under its relative path, until released', async () => {
    const source = new MemorySource();
    const changed = listed('c.txt', 'new here');
    const files = [
      elsewhere('a.txt', 'AAAA'),
      elsewhere('x/y/b.txt', 'BBBB'),
      { ...changed, sizeBytes: 5, identity: '5-7' },
    ];
    ['AAAA', 'BBBB', 'older'].forEach((text, index) => source.inputs.set(100 + index, text));
    source.breaks.push(2);
    const staged = await stage(source, files);
    expect(staged.files.map(({ path }) => path)).toEqual(
      ['a.txt', 'x/y/b.txt', 'c.txt'].map((path) => join(dir, 'staged', path)),
    );
    expect(staged.files.map(({ path }) => readFileSync(path, 'utf8'))).toEqual(['AAAA', 'BBBB', 'older']);
    // Whichever was first has its connection broken.
    expect(source.asked.map((ask) => ask.split('@')[1]).sort()).toEqual(['0', '0', '0', '3']);
    await staged.release?.();
    expect(existsSync(join(dir, 'staged'))).toBe(false);
  });

  it('has room for keys of stores that no folder could hold: a file that is a folder too', async () => {
    const source = new MemorySource();
    ['AAAA', 'BBBB'].forEach((text, index) => source.inputs.set(100 + index, text));
    const files = [elsewhere('a', 'AAAA'), elsewhere('a/b', 'BBBB'), elsewhere('x'.repeat(256), 'C')];
    const staged = await stage(source, files, { inputRoot: 's3://bucket/in' });
    expect(staged.files.map(({ name }) => name)).toEqual(['a', 'a/b']);
    expect(staged.files.map(({ path }) => readFileSync(path, 'utf8'))).toEqual(['AAAA', 'BBBB']);
    expect(staged.failed).toMatchObject([{ index: 2, code: 'INPUT_UNREADABLE' }]);
    await staged.release?.();
    expect(existsSync(join(dir, 'staged'))).toBe(false);
  });

  it('tells which files cannot be had, in order, and gives the others', async () => {
    const source = new MemorySource();
    source.inputs.set(102, 'too long');
    source.inputs.set(103, new BatchError('INPUT_CHANGED', 'another one'));
    const files = [
      elsewhere('gone', 'A'),
      listed('here', 'B'),
      elsewhere('long', 'C'),
      elsewhere('changed', 'D'),
      elsewhere('../out', 'E'),
    ];
    const staged = await stage(source, files);
    expect(staged.files.map(({ name }) => name)).toEqual(['here']);
    expect(staged.failed.map(({ index, code }) => [index, code])).toEqual([
      [0, 'INPUT_UNREADABLE'],
      [2, 'INPUT_CHANGED'],
      [3, 'INPUT_CHANGED'],
      [4, 'INPUT_UNREADABLE'],
    ]);
  });

  it.each(['SESSION_UNKNOWN', 'JOB_NOT_FOUND', 'INTERNAL'] as const)(
    'throws what is not about one file: %s',
    async (code) => {
      const source = new MemorySource();
      source.inputs.set(100, 'AAAA');
      source.inputs.set(101, new BatchError(code, 'whatever'));
      await expect(stage(source, [elsewhere('a', 'AAAA'), elsewhere('b', 'B')])).rejects.toMatchObject({ code });
      expect(existsSync(join(dir, 'staged'))).toBe(false);
    },
  );

  it('throws when the scratch folder cannot be written to', async () => {
    const source = new MemorySource();
    source.inputs.set(100, 'A');
    writeFileSync(join(dir, 'file'), '');
    const refused = stage(source, [elsewhere('a', 'A')], { dir: join(dir, 'file', 'staged') });
    await expect(refused).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' });
  });

  it('fetches a bounded number of files at once over all mini-batches', async () => {
    const source = new MemorySource();
    const text = 'x'.repeat(60);
    const files = Array.from({ length: 40 }, (_, index) => elsewhere(`f${index}`, text));
    for (let ordinal = 100; ordinal < 140; ordinal += 1) source.inputs.set(ordinal, text);
    const stager = new InputStager({ source, delay: noDelay });
    const request = {
      job: jobName('j'),
      inputRoot: '/nowhere',
      reader: 'onnx' as const,
      first: 100,
      files,
      signalOf: () => new AbortController().signal,
    };
    await Promise.all(['s1', 's2'].map((name) => stager.stage({ ...request, dir: join(dir, name) })));
    expect(source.underWayMax).toBe(limits.stagingFetchesMax);
  });

  it('ends when it is told to, with nothing left', async () => {
    const source = new MemorySource();
    source.inputs.set(100, 'x'.repeat(3_000));
    const over = new AbortController();
    const staging = stage(source, [elsewhere('a', 'x'.repeat(3_000))], { signalOf: () => over.signal });
    over.abort(new Error('not wanted'));
    await expect(staging).rejects.toThrow('not wanted');
    expect(existsSync(join(dir, 'staged'))).toBe(false);
  });
});

describe('a gate', () => {
  it('lets so many through at once, in order, and frees a place when one fails', async () => {
    const gate = new Gate(2);
    const signal = new AbortController().signal;
    const order: number[] = [];
    let inside = 0;
    let insideMax = 0;
    const pass = (n: number): Promise<void> =>
      gate.pass(signal, async () => {
        inside += 1;
        insideMax = Math.max(insideMax, inside);
        order.push(n);
        await Promise.resolve();
        inside -= 1;
        if (n === 1) throw new Error('one fails');
      });
    const ends = await Promise.allSettled([0, 1, 2, 3, 4].map(pass));
    expect(ends.map((end) => end.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
    expect([insideMax, order]).toEqual([2, [0, 1, 2, 3, 4]]);
  });

  it('stops a bounded walk at the first failure', async () => {
    const done: number[] = [];
    const walk = forEachBounded([0, 1, 2, 3, 4, 5, 6, 7], 2, async (item) => {
      await Promise.resolve();
      if (item === 2) throw new Error('two');
      done.push(item);
    });
    await expect(walk).rejects.toThrow('two');
    expect(done.length).toBeLessThan(5);
  });
});

describe('a node’s files', () => {
  it('are swept but for the logs of the newest jobs', async () => {
    const files = new NodeFiles(dir, nodeName('n'));
    const jobs = join(dir, 'nodes', 'n', 'jobs');
    for (let job = 0; job < limits.jobLogsKept + 3; job += 1) {
      const logs = join(jobs, `job-${job}`, 'logs');
      mkdirSync(logs, { recursive: true });
      utimesSync(logs, 1_000 + job, 1_000 + job);
    }
    mkdirSync(join(jobs, 'job-50', '1.7'), { recursive: true });
    mkdirSync(files.spoolDir, { recursive: true });
    await files.sweep();
    expect(existsSync(files.spoolDir)).toBe(false);
    expect(readdirSync(join(jobs, 'job-50'))).toEqual(['logs']);
    expect(readdirSync(jobs)).toHaveLength(limits.jobLogsKept);
    expect(existsSync(join(jobs, 'job-0'))).toBe(false);
    expect(existsSync(join(jobs, `job-${limits.jobLogsKept + 2}`))).toBe(true);
  });

  it('stay inside of the scratch folder, whatever a job is called', () => {
    expect(() => new NodeFiles(dir, nodeName('../n'))).toThrowError(
      expect.objectContaining({ code: 'REQUEST_INVALID' }),
    );
    const files = new NodeFiles(dir, nodeName('n'));
    expect(() => files.inputsDir(jobName('../../etc'), { epoch: 1, counter: 1 })).toThrowError(
      expect.objectContaining({ code: 'REQUEST_INVALID' }),
    );
    expect(files.inputsDir(jobName('j'), { epoch: 1, counter: 7 })).toBe(join(dir, 'nodes', 'n', 'jobs', 'j', '1.7'));
  });
});
