import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepareOutputDir } from '../../coordinator/output/output-dir.ts';
import { partNames } from '../../coordinator/output/part-names.ts';
import { sealOutput, type SealOptions } from '../../coordinator/output/seal.ts';
import type { ErrorLine, FileLine, SealedOutput } from '../../coordinator/output/sealed-lines.ts';
import { matching } from '../helpers/matching.ts';
import { Killed, MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';

const rows = 'a.png 3\nc.png 5\n';

function fileLine(ordinal: number, path: string): FileLine {
  const isFailed = path.startsWith('b');
  return {
    ordinal,
    path,
    size_bytes: 10,
    identity: '10-1',
    status: isFailed ? 'failed' : 'scored',
    rows: isFailed ? 0 : 1,
    mini_batch: [0, 3],
    attempt: '1.1',
    node: 'n1',
    code: isFailed ? 'INPUT_DECODE_FAILED' : null,
  };
}

async function* lines<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}

const failedLine: ErrorLine = {
  ordinal: 1,
  path: 'b.png',
  code: 'INPUT_DECODE_FAILED',
  message: 'no image',
  detail: '',
  tries: 3,
  node: 'n1',
  run_seconds: 0.5,
  peak_memory_bytes: 1_000_000,
  host_exit: null,
};

function options(disk: MemoryFileSystem, more: Partial<SealOptions> = {}): SealOptions {
  return {
    dir: '/out',
    outputFileName: 'predictions.csv',
    header: { job: 'digits-1', input_path: '/in' },
    files: lines(['a.png', 'b.png', 'c.png'].map((path, ordinal) => [fileLine(ordinal, path)])),
    errors: lines([failedLine]),
    verdict: 'Completed',
    fileSystem: disk,
    chunkLinesMax: 2,
    ...more,
  };
}

function folder(): MemoryFileSystem {
  const disk = new MemoryFileSystem();
  disk.put('/out/predictions.csv.partial', Buffer.from(rows));
  disk.put('/out/written-by-the-script.txt', Buffer.from('theirs'));
  return disk;
}

function snapshot(disk: MemoryFileSystem): Record<string, string | undefined> {
  return Object.fromEntries(disk.paths().map((path) => [path, disk.content(path)?.toString()]));
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const place = { first: 0, count: 3, rows: 2, bytes: rows.length, crc32: crc32(rows), isCommitted: true };

describe('sealing', () => {
  it('leaves the output, manifest chunks, errors, manifest and _SUCCESS, all with true digests', async () => {
    const disk = folder();
    const sealed = await sealOutput(options(disk));
    expect(disk.paths()).toEqual([
      '/out/_SUCCESS',
      '/out/_errors.jsonl',
      '/out/_manifest.json',
      '/out/_manifest/files-00000.jsonl',
      '/out/_manifest/files-00001.jsonl',
      '/out/predictions.csv',
      '/out/written-by-the-script.txt',
    ]);
    expect(sealed.output).toEqual({ path: 'predictions.csv', bytes: rows.length, sha256: sha256(rows) });
    expect(sealed.files.map((chunk) => chunk.lines)).toEqual([2, 1]);
    for (const file of [...sealed.files, sealed.errors, sealed.output]) {
      const content = disk.content(`/out/${file?.path}`)?.toString() ?? '';
      expect(file).toMatchObject({ bytes: content.length, sha256: sha256(content) });
    }
    const manifest = JSON.parse(disk.content('/out/_manifest.json')?.toString() ?? '') as SealedOutput;
    expect(manifest).toEqual({ job: 'digits-1', input_path: '/in', ...sealed });
    expect(Object.keys(manifest)[0]).toBe('job');
    const first = disk.content('/out/_manifest/files-00000.jsonl')?.toString().split('\n')[1] as string;
    expect(JSON.parse(first)).toEqual(fileLine(1, 'b.png'));
  });

  it('comes to the same folder from a crash at any point, and shows _SUCCESS only when all is there', async () => {
    const whole = folder();
    await sealOutput(options(whole));
    let rounds = 0;
    for (let changes = 0; ; changes += 1) {
      for (const isPowerCut of [false, true]) {
        const disk = folder();
        disk.changesLeft = changes;
        const outcome = await sealOutput(options(disk)).catch((error: unknown) => error);
        const isKilled = outcome instanceof Killed;
        if (!isKilled && !isPowerCut) {
          disk.powerCut();
          expect(snapshot(disk)).toEqual(snapshot(whole));
          expect(rounds).toBeGreaterThan(20);
          return;
        }
        if (isPowerCut) disk.powerCut();
        disk.changesLeft = Number.MAX_SAFE_INTEGER;
        if (disk.content('/out/_SUCCESS')) expect(snapshot(disk)).toEqual(snapshot(whole));
        await sealOutput(options(disk));
        expect(snapshot(disk)).toEqual(snapshot(whole));
        rounds += 1;
      }
    }
  });

  it('puts an epilogue behind the rows of a complete output, once, whenever it crashes', async () => {
    const epilogue = Buffer.from('end');
    const more = { epilogue, outputBytes: rows.length, layout: { prologue: new Uint8Array(0), places: [place] } };
    const whole = folder();
    const sealed = await sealOutput(options(whole, more));
    expect(whole.content('/out/predictions.csv')?.toString()).toBe(`${rows}end`);
    expect(sealed.output).toEqual({ path: 'predictions.csv', bytes: rows.length + 3, sha256: sha256(`${rows}end`) });
    const segments = whole.content('/out/_manifest/segments-00000.jsonl')?.toString().trimEnd().split('\n') ?? [];
    const ends = segments.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(ends.map(({ offset, bytes, files }) => [offset, bytes, files])).toEqual([
      [0, rows.length, 3],
      [rows.length, 3, 0],
    ]);
    for (let changes = 0, isKilled = true; isKilled; changes += 1) {
      const disk = folder();
      disk.changesLeft = changes;
      isKilled = (await sealOutput(options(disk, more)).catch((error: unknown) => error)) instanceof Killed;
      disk.powerCut();
      disk.changesLeft = Number.MAX_SAFE_INTEGER;
      await sealOutput(options(disk, more));
      expect(snapshot(disk)).toEqual(snapshot(whole));
      expect(changes).toBeLessThan(100);
    }
    const canceled = folder();
    await sealOutput(options(canceled, { ...more, verdict: 'Canceled' }));
    expect(canceled.content('/out/predictions.csv.partial')?.toString()).toBe(rows);
    const torn = folder();
    torn.put('/out/predictions.csv.partial', Buffer.from(`${rows}endless`));
    await expect(sealOutput(options(torn, more))).rejects.toMatchObject({ code: 'OUTPUT_CORRUPT' });
  });

  it('makes each name durable before the one that promises it', async () => {
    const disk = folder();
    await sealOutput(options(disk));
    const order = disk.log.filter((line) => /^(syncDir|rename)|_SUCCESS/.test(line));
    expect(order).toEqual([
      'rename /out/_manifest/files-00000.jsonl.tmp',
      'rename /out/_manifest/files-00001.jsonl.tmp',
      'syncDir /out/_manifest',
      'rename /out/_errors.jsonl.tmp',
      'rename /out/predictions.csv.partial',
      'syncDir /out',
      'rename /out/_manifest.json.tmp',
      'syncDir /out',
      'open /out/_SUCCESS',
      'syncDir /out',
    ]);
  });

  it('takes _SUCCESS of an earlier try away from a job that has failed since', async () => {
    const disk = folder();
    await sealOutput(options(disk));
    expect(disk.content('/out/_SUCCESS')).not.toBeNull();
    await sealOutput(options(disk, { verdict: 'Failed' }));
    expect(disk.content('/out/_SUCCESS')).toBeNull();
  });

  it('replaces an earlier generation: _SUCCESS stands beside the old output or the new one, from a crash at any point', async () => {
    const older = async (): Promise<MemoryFileSystem> => {
      const disk = folder();
      await sealOutput(options(disk));
      disk.put('/out/predictions.csv.generation-2.partial', Buffer.from('a.png 3\nb.png 4\nc.png 5\n'));
      return disk;
    };
    const later = (): Partial<SealOptions> => ({
      generation: 2,
      outputBytes: 24,
      errors: lines([]),
      files: lines([['a.png', 'x.png', 'c.png'].map((path, ordinal) => fileLine(ordinal, path))]),
    });
    const results = (disk: MemoryFileSystem): Record<string, string | undefined> => {
      const all = Object.entries(snapshot(disk)).filter(([path]) => !/\.(tmp|partial)$/.test(path));
      const named = new Set(
        (
          disk
            .content('/out/_manifest.json')
            ?.toString()
            .match(/files-\d+/g) ?? []
        ).map(String),
      );
      return Object.fromEntries(all.filter(([path]) => !path.includes('files-') || named.has(path.slice(15, -6))));
    };
    const [old, whole] = [await older(), await older()];
    const sealed = await sealOutput(options(whole, later()));
    expect([sealed.generation, sealed.output?.bytes]).toEqual([2, 24]);
    expect(whole.paths()).toEqual([
      '/out/_SUCCESS',
      '/out/_manifest.json',
      '/out/_manifest/files-200000.jsonl',
      '/out/_manifest/files-200001.jsonl',
      '/out/predictions.csv',
      '/out/written-by-the-script.txt',
    ]);
    const seen = new Set<string>();
    for (let changes = 0; !seen.has('done'); changes += 1) {
      for (const isPowerCut of [false, true]) {
        const disk = await older();
        disk.changesLeft = changes;
        const outcome = await sealOutput(options(disk, later())).catch((error: unknown) => error);
        if (!(outcome instanceof Killed)) seen.add('done');
        if (isPowerCut) disk.powerCut();
        disk.changesLeft = Number.MAX_SAFE_INTEGER;
        if (disk.content('/out/_SUCCESS')) {
          const isOld = disk.content('/out/predictions.csv')?.length === rows.length;
          seen.add(isOld ? 'old' : 'new');
          expect(results(disk)).toEqual(results(isOld ? old : whole));
        }
        await sealOutput(options(disk, later()));
        expect(snapshot(disk)).toEqual(snapshot(whole));
      }
    }
    expect([...seen].sort()).toEqual(['done', 'new', 'old']);
  });

  it('refuses a new generation that is not all there, and cuts what was never committed off one that was broken off', async () => {
    const disk = folder();
    await sealOutput(options(disk));
    const wanted = sealOutput(options(disk, { generation: 2, outputBytes: 24 }));
    await expect(wanted).rejects.toMatchObject({ code: 'OUTPUT_CORRUPT', message: matching(/24 were committed/) });
    const short = folder();
    const sealed = await sealOutput(options(short, { verdict: 'Canceled', outputBytes: 8 }));
    expect([sealed.output?.bytes, short.content('/out/predictions.csv.partial')?.toString()]).toEqual([8, 'a.png 3\n']);
  });

  it('leaves the partial output of a failed or canceled job under its own name, without _SUCCESS', async () => {
    for (const verdict of ['Failed', 'Canceled'] as const) {
      const disk = folder();
      const sealed = await sealOutput(options(disk, { verdict, errors: lines([]) }));
      expect(sealed).toMatchObject({ verdict, errors: null, output: { path: 'predictions.csv.partial' } });
      expect(disk.content('/out/predictions.csv.partial')?.toString()).toBe(rows);
      expect(disk.content('/out/_SUCCESS')).toBeNull();
      expect(disk.content('/out/_errors.jsonl')).toBeNull();
      expect(disk.content('/out/_manifest.json')).not.toBeNull();
    }
    const empty = new MemoryFileSystem();
    await empty.makeDir('/out');
    expect(await sealOutput(options(empty, { verdict: 'Failed' }))).toMatchObject({ output: null });
  });

  it('takes the final name back from the output of a job that has failed since it was sealed as complete', async () => {
    const disk = new MemoryFileSystem();
    await disk.makeDir('/out');
    disk.put('/out/predictions.csv', Buffer.from(`${rows}end`));
    const epilogue = Buffer.from('end');
    const sealed = await sealOutput(options(disk, { verdict: 'Failed', outputBytes: rows.length, epilogue }));
    expect(sealed.output?.path).toBe('predictions.csv.partial');
    expect(disk.content('/out/predictions.csv')).toBeNull();
    expect(disk.content('/out/predictions.csv.partial')?.toString()).toBe(rows);
    disk.put('/out/predictions.csv', Buffer.from('an earlier output'));
    await disk.remove('/out/predictions.csv.partial');
    expect((await sealOutput(options(disk, { verdict: 'Failed', outputBytes: rows.length }))).output).toBeNull();
    expect(disk.content('/out/predictions.csv')?.toString()).toBe('an earlier output');
  });

  it('writes no predictions with summary_only, but the manifest all the same', async () => {
    const disk = new MemoryFileSystem();
    await disk.makeDir('/out');
    expect(await sealOutput(options(disk, { outputFileName: null }))).toMatchObject({ output: null });
    expect(disk.content('/out/_SUCCESS')?.length).toBe(0);
  });

  it('says what stands in the way', async () => {
    const gone = new MemoryFileSystem();
    await gone.makeDir('/out');
    await expect(sealOutput(options(gone))).rejects.toMatchObject({ code: 'OUTPUT_CORRUPT' });
    const full = folder();
    full.capacityBytes = full.usedBytes + 5;
    await expect(sealOutput(options(full))).rejects.toMatchObject({ code: 'DISK_FULL', message: matching(/\/out/) });
    const broken = folder();
    broken.fail = (operation, path) => (operation === 'rename' ? systemError('EIO', path) : null);
    await expect(sealOutput(options(broken))).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' });
  });
});

describe('an output folder', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'batchmill-output-'));
  });
  afterEach(async () => {
    await rm(dir, { recursive: true });
  });
  const prepare = (isOverwrite: boolean, outputFileName: string | null = 'predictions.csv', path = dir) =>
    prepareOutputDir({ dir: path, isOverwrite, outputFileName });

  it('is made, also several levels deep, and may hold what is not ours', async () => {
    expect(await prepare(false, 'p.csv', join(dir, 'a', 'b'))).toEqual({ removed: [], foreign: [] });
    await writeFile(join(dir, 'notes.txt'), '');
    expect(await prepare(false)).toEqual({ removed: [], foreign: ['a', 'notes.txt'] });
  });

  it('is refused when it holds results, naming them', async () => {
    for (const name of ['predictions.csv', 'predictions.csv.partial', '_SUCCESS', '_manifest.json', '_errors.jsonl']) {
      await writeFile(join(dir, name), 'x');
      await expect(prepare(false)).rejects.toMatchObject({
        code: 'OUTPUT_EXISTS',
        message: expect.stringContaining(`(${name})`) as string,
      });
      expect(await readFile(join(dir, name), 'utf8')).toBe('x');
      await rm(join(dir, name));
    }
  });

  it('is taken as it is when an earlier job left neither row nor file there', async () => {
    const seal = (verdict: string, bytes: number, files: number): Promise<void> =>
      writeFile(
        join(dir, '_manifest.json'),
        JSON.stringify({ verdict, output: { path: 'predictions.csv.partial', bytes }, custom_counts: { files } }),
      );
    for (const [verdict, bytes, files] of [
      ['Completed', 0, 0],
      ['Failed', 1, 0],
      ['Failed', 0, 1],
    ] as const) {
      await seal(verdict, bytes, files);
      await expect(prepare(false)).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
    }
    await seal('Failed', 0, 0);
    await writeFile(join(dir, 'predictions.csv.partial'), '');
    expect((await prepare(false)).removed).toEqual(['predictions.csv.partial', '_manifest.json']);
  });

  it('keeps what is not of the earlier job that left nothing, whatever its name', async () => {
    const output = { path: 'predictions.csv.partial', bytes: 0 };
    const manifest = { verdict: 'Failed', output, custom_counts: { files: 0 }, errors: null };
    await writeFile(join(dir, '_manifest.json'), JSON.stringify(manifest));
    await mkdir(join(dir, '_attempts'));
    for (const name of ['predictions.csv', 'predictions.csv.partial', '_attempts/mine', '_errors.jsonl']) {
      await writeFile(join(dir, name), 'of somebody');
      const [top = ''] = name.split('/');
      await expect(prepare(false)).rejects.toMatchObject({ message: expect.stringContaining(top) as string });
      expect(await readFile(join(dir, name), 'utf8')).toBe('of somebody');
      await rm(join(dir, top), { recursive: true });
    }
    expect((await prepare(false)).removed).toEqual(['_manifest.json']);
  });

  it.each([
    [
      'one file',
      [],
      'predictions.parquet',
      null,
      ['predictions.parquet'],
      ['part-00000.parquet', 'x/predictions.parquet'],
    ],
    ['several', [], 'part-00000.parquet', 9, ['part-00000.parquet', 'part-123456_0001.parquet'], ['part-00000.csv']],
    [
      ...(['partitions', ['land', 'jahr'], 'part-00000.parquet', null] as const),
      ['land=de/jahr=1/part-00000.parquet', 'land=fr/jahr=2/part-00001.parquet'],
      ['land=de/part-00000.parquet', 'land=fr/jahr=2/notes.txt', 'part-00000.parquet', 'land=x'],
    ],
  ] as const)('is refused for parts that are there, and loses them alone on overwrite: %s', async (...given) => {
    const [, partitionBy, outputFileName, fileRows, own, others] = given;
    const form = { format: 'parquet', partitionBy, header: false, fileRows, fileBytes: null } as const;
    const parts = partNames({
      ...{ outputAction: 'append_row', outputFileName },
      parts: { ...form, rowGroupRows: 1_000, compression: 'snappy' },
    });
    for (const path of [...own, ...others]) {
      await mkdir(dirname(join(dir, path)), { recursive: true });
      await writeFile(join(dir, path), 'x');
    }
    const options = { dir, outputFileName: '_rows.arrows', parts };
    const refused = { code: 'OUTPUT_EXISTS', message: expect.stringContaining(`(${own.join(', ')})`) as string };
    await expect(prepareOutputDir({ ...options, isOverwrite: false })).rejects.toMatchObject(refused);
    expect((await prepareOutputDir({ ...options, isOverwrite: true })).removed).toEqual(own);
    const left = await readdir(dir, { recursive: true, withFileTypes: true });
    const files = left
      .filter((entry) => entry.isFile())
      .map((entry) => relative(dir, join(entry.parentPath, entry.name)));
    expect(files.sort()).toEqual([...others].sort());
    expect(left.some(({ name }) => name === 'jahr=1')).toBe(false);
    expect(await prepareOutputDir({ ...options, isOverwrite: false })).toMatchObject({ removed: [] });
  });

  it('loses exactly the earlier results on overwrite, also those under another name', async () => {
    await mkdir(join(dir, '_manifest'));
    await writeFile(join(dir, '_manifest', 'files-00000.jsonl'), '');
    await writeFile(join(dir, '_manifest', 'mine.txt'), '');
    await writeFile(join(dir, '_manifest.json'), JSON.stringify({ output: { path: 'earlier.csv' } }));
    for (const name of ['_SUCCESS', 'earlier.csv', 'other.csv', 'notes.txt']) await writeFile(join(dir, name), '');
    const prepared = await prepare(true);
    expect(prepared.removed).toEqual(['_SUCCESS', 'earlier.csv', '_manifest', '_manifest.json']);
    expect(prepared.foreign).toEqual(['_manifest', 'notes.txt', 'other.csv']);
    expect(await readdir(join(dir, '_manifest'))).toEqual(['mine.txt']);
    await writeFile(join(dir, '_manifest.json'), JSON.stringify({ output: { path: '../elsewhere.csv' } }));
    expect((await prepare(true)).removed).toEqual(['_manifest', '_manifest.json']);
  });

  it('never looks complete when its removal breaks off', async () => {
    const manifest = { custom_files: [{ path: 'report', bytes: 1 }], custom_chunks: [] };
    await writeFile(join(dir, '_manifest.json'), JSON.stringify(manifest));
    await writeFile(join(dir, '_SUCCESS'), '');
    // What is no file any more cannot be removed as one.
    await mkdir(join(dir, 'report'));
    await expect(prepare(true)).rejects.toThrow();
    expect((await readdir(dir)).sort()).toEqual(['_manifest.json', 'report']);
  });

  it('must be a folder that can be written, and the output file a plain name', async () => {
    await writeFile(join(dir, 'file'), '');
    await expect(prepare(false, 'p.csv', join(dir, 'file'))).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' });
    await expect(prepare(false, 'p.csv', join(dir, 'file', 'below'))).rejects.toMatchObject({
      code: 'STATE_UNWRITABLE',
    });
    for (const name of ['', '..', 'a/b', '/etc/passwd', '_SUCCESS', '_manifest', 'a\0b']) {
      await expect(prepare(false, name), JSON.stringify(name)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    }
  });
});
