/** Files of user code from a host's folder over its archive to the output folder: the same as one worker would have left. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { combineCrc32 } from '../../common/core/crc32-combine.ts';
import { limits } from '../../common/core/limits.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { customPathDefect } from '../../common/storage/custom-path.ts';
import {
  publishCustomFiles,
  type PublishedFiles,
  type StagedArchive,
} from '../../coordinator/output/custom-publish.ts';
import { publishParts, type PartsSource } from '../../coordinator/output/seal-parts.ts';
import { stagingName } from '../../coordinator/output/staging-files.ts';
import { CustomFolder } from '../../worker/pool/custom-folder.ts';
import { ResultBody } from '../../worker/pool/result-body.ts';
import { failing } from '../helpers/failing.ts';
import { Random } from '../sim/world.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-custom-unit-'));
  for (const name of ['host', 'staging', 'out']) mkdirSync(join(dir, name));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const host = (...path: string[]): string => join(dir, 'host', ...path);

function write(root: string, path: string, how: 'append' | 'whole', text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  (how === 'append' ? appendFileSync : writeFileSync)(join(root, path), text);
}

function contents(root: string): Record<string, string> {
  const names = (readdirSync(root, { recursive: true }) as string[]).filter((name) =>
    statSync(join(root, name)).isFile(),
  );
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(root, name), 'utf8')]));
}

async function bytesOf(body: ResultBody): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body.pieces()) pieces.push(piece);
  await body.discard();
  return Buffer.concat(pieces);
}

/** The archive of one attempt. */
async function collected(folder: CustomFolder, appended: readonly string[] = []): Promise<Buffer> {
  const body = new ResultBody(join(dir, 'spool'));
  body.append(Buffer.from('rows\n'));
  body.beginCustom();
  await folder.collect(new Set(appended), body);
  const { rows, custom } = body;
  const bytes = await bytesOf(body);
  expect(rows).toEqual({ bytes: 5, crc32: crc32('rows\n') });
  expect(custom).toEqual({ bytes: bytes.length - 5, crc32: crc32(bytes.subarray(5)) });
  return bytes.subarray(5);
}

/** Each archive in a segment of its own. */
async function published(archives: readonly Buffer[], areFoldersNamed = false): Promise<PublishedFiles> {
  const staged = archives.flatMap((archive, index): StagedArchive[] => {
    writeFileSync(join(dir, 'staging', stagingName(index + 1)), archive);
    return archive.length === 0 ? [] : [{ segment: index + 1, offset: 0, length: archive.length }];
  });
  return await publishCustomFiles({
    dir: join(dir, 'out'),
    stagingDir: join(dir, 'staging'),
    archives: staged,
    job: 'job',
    outputFileName: 'predictions.csv',
    fileSystem: nodeFileSystem,
    areFoldersNamed,
  });
}

describe('checksums', () => {
  it('of two pieces are combined to that of both', () => {
    const random = new Random(5);
    for (let round = 0; round < 200; round += 1) {
      const [a, b] = [random.between(0, 3_000), random.between(0, 3_000)].map((length) =>
        Buffer.from(Array.from({ length }, () => random.between(0, 255))),
      ) as [Buffer, Buffer];
      expect(combineCrc32(crc32(a), crc32(b), b.length)).toBe(crc32(Buffer.concat([a, b])));
    }
  });
});

describe('the folder of a host', () => {
  it('gives each file once, then only what is added', async () => {
    const folder = new CustomFolder(host(), 'predictions.csv');
    await folder.begin();
    write(host(), 'a/b.txt', 'whole', 'one');
    const first = await collected(folder);
    expect((await collected(folder)).length).toBe(0);
    write(host(), 'a/b.txt', 'append', '+two');
    const second = await collected(folder);
    expect(second.toString('latin1')).toContain('+two');
    expect(second.toString('latin1')).not.toContain('one+');
    expect((await published([first, second])).files).toMatchObject([{ path: 'a/b.txt', bytes: 7, mini_batches: 2 }]);
    expect(contents(join(dir, 'out'))).toEqual({ 'a/b.txt': 'one+two' });
  });

  it('is as before after a failed attempt: new files gone, appended ones cut', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'log', 'append', '1');
    const first = await collected(folder, ['log']);
    write(host(), 'log', 'append', '2');
    write(host(), 'new', 'whole', 'x');
    symlinkSync('/etc/hostname', host('link'));
    expect(await folder.undo()).toBe(true);
    expect(contents(host())).toEqual({ log: '1' });
    write(host(), 'log', 'append', '3');
    const third = await collected(folder, ['log']);
    await published([first, third]);
    expect(contents(join(dir, 'out'))).toEqual({ log: '13' });
  });

  it('says so when a failed attempt has changed or removed an older file', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'a', 'whole', 'old');
    await collected(folder);
    write(host(), 'a', 'whole', 'other');
    expect(await folder.undo()).toBe(false);
    rmSync(host('a'));
    expect(await folder.undo()).toBe(false);
  });

  it('says so when a failed attempt has left a name that is no text', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    writeFileSync(Buffer.from(`${host('caf')}\xe9.txt`, 'latin1'), 'x');
    expect(await folder.undo()).toBe(false);
  });

  it('gives what init() wrote to the first attempt that succeeds', async () => {
    write(host(), 'init', 'whole', 'i');
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'lost', 'whole', 'x');
    expect(await folder.undo()).toBe(true);
    await published([await collected(folder)]);
    expect(contents(join(dir, 'out'))).toEqual({ init: 'i' });
    expect((await collected(folder)).length).toBe(0);
  });

  it('forgets the oldest whole files, and none that grows', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    const count = limits.customFilesKept + 10;
    write(host(), 'log', 'append', '1');
    for (let file = 0; file < count; file += 1) write(host(), `f${String(file).padStart(4, '0')}`, 'whole', 'x');
    await collected(folder, ['log']);
    expect(readdirSync(host())).toHaveLength(limits.customFilesKept);
    expect([existsSync(host('log')), existsSync(host('f0000'))]).toEqual([true, false]);
    expect((await collected(folder)).length).toBe(0);
  });

  it('keeps nothing that has been given away where nobody comes back to it', async () => {
    const folder = new CustomFolder(host(), null, 0);
    await folder.begin();
    for (const path of ['a=1/part.parquet', 'a=2/part.parquet']) write(host(), path, 'whole', 'x');
    expect((await collected(folder)).length).toBeGreaterThan(0);
    expect(readdirSync(host())).toEqual([]);
    write(host(), 'a=1/part.parquet', 'whole', 'y');
    expect((await collected(folder)).length).toBeGreaterThan(0);
  });

  it('refuses links', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    symlinkSync('/etc/hostname', host('link'));
    await expect(collected(folder)).rejects.toThrow(failing('CUSTOM_OUTPUT_INVALID', '"link"'));
  });
});

it.each([
  ['a/../b', true],
  ['/a', true],
  ['_SUCCESS', true],
  ['_manifest.json.tmp', true],
  ['_logs/x', true],
  ['_attempts/x.txt', true],
  ['_differences.jsonl', true],
  ['_differences.csv', false],
  ['x.partial', true],
  ['predictions.csv', true],
  ['a\nb', true],
  ['a'.repeat(limits.customPathBytesMax + 1), true],
  ['a/_SUCCESS', false],
  ['a/predictions.csv', false],
  ['.hidden', false],
  ['naïve name.parquet', false],
])('whether %j is refused as a name: %s', (path, isRefused) => {
  expect(customPathDefect(path, 'predictions.csv') !== null).toBe(isRefused);
});

it('the rows’ own names are refused also where they look like a partition', () => {
  const defects = ['a=b.csv', 'a=b.csv.partial', 'a=b.csv.generation-2.partial', 'a=b.csv.x', 'a=c.partial'].map(
    (path) => customPathDefect(path, 'a=b.csv') !== null,
  );
  expect(defects).toEqual([true, true, true, false, false]);
});

describe('publishing', () => {
  it('finds damage', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'a', 'whole', 'content');
    const archive = await collected(folder);
    const damaged = Buffer.from(archive.toString('latin1').replace('content', 'contemt'), 'latin1');
    await expect(published([damaged])).rejects.toThrow(failing('OUTPUT_CORRUPT', '"a"'));
    await expect(published([archive.subarray(0, -1)])).rejects.toThrow(failing('OUTPUT_CORRUPT', 'behind its archive'));
    expect(contents(join(dir, 'out'))['a']).toBeUndefined();
  });

  it('comes to the same when it is done again, with pieces of the first try about', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'a/b', 'whole', 'content');
    const archive = await collected(folder);
    const first = await published([archive]);
    mkdirSync(join(dir, 'out', '_custom.partial'));
    writeFileSync(join(dir, 'out', '_custom.partial', '0'), 'half');
    expect(await published([archive])).toEqual(first);
    expect(contents(join(dir, 'out'))).toEqual({ 'a/b': 'content' });
  });
});

describe('a file of another’s where a folder is wanted', () => {
  it('stays, and the folder goes beside it, also when it is done again', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    for (const path of ['sub/report.txt', 'sub/deep/x', 'a/b/c']) write(host(), path, 'whole', path);
    const archive = await collected(folder);
    for (const path of ['sub', 'a/b']) write(join(dir, 'out'), path, 'whole', 'mine');
    const first = await published([archive]);
    expect(first.files.map(({ path, wanted_path: wanted }) => [path, wanted])).toEqual([
      ['a/b~job/c', 'a/b/c'],
      ['sub~job/deep/x', 'sub/deep/x'],
      ['sub~job/report.txt', 'sub/report.txt'],
    ]);
    expect(await published([archive])).toEqual(first);
    expect(contents(join(dir, 'out'))).toEqual({
      'a/b': 'mine',
      'a/b~job/c': 'a/b/c',
      sub: 'mine',
      'sub~job/deep/x': 'sub/deep/x',
      'sub~job/report.txt': 'sub/report.txt',
    });
  });

  it('stays where a file and a folder want its name, and neither of these takes the other’s', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'sub', 'whole', 'file');
    const file = await collected(folder);
    rmSync(host('sub'));
    write(host(), 'sub/x', 'whole', 'in it');
    const other = new CustomFolder(host(), null);
    await other.begin();
    write(host(), 'sub/x', 'whole', 'in it, later');
    const archives = [file, await collected(other)];
    write(join(dir, 'out'), 'sub', 'whole', 'mine');
    const first = await published(archives);
    expect(await published(archives)).toEqual(first);
    expect(contents(join(dir, 'out'))).toEqual({ sub: 'mine', 'sub~job/x': 'in it, later', 'sub~job~': 'file' });
  });

  it('is named where folders say what is in them', async () => {
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    write(host(), 'c=de/part-00000.csv', 'whole', 'x');
    const archive = await collected(folder);
    write(join(dir, 'out'), 'c=de', 'whole', 'mine');
    await expect(published([archive], true)).rejects.toThrow(
      failing('STATE_UNWRITABLE', `${join(dir, 'out', 'c=de')} is a file, where`),
    );
  });
});

describe('parts', () => {
  /** Of a script that has written these. */
  async function partsOf(texts: Readonly<Record<string, string>>): Promise<PartsSource> {
    rmSync(host(), { recursive: true });
    mkdirSync(host());
    const folder = new CustomFolder(host(), null);
    await folder.begin();
    for (const [path, text] of Object.entries(texts)) write(host(), path, 'whole', text);
    const archive = await collected(folder);
    writeFileSync(join(dir, 'staging', stagingName(1)), archive);
    const files = Object.entries(texts).map(([path, text]) => [path, { path, rows: 1, bytes: text.length }] as const);
    const archives = [{ segment: 1, offset: 0, length: archive.length }];
    return { stagingDir: join(dir, 'staging'), archives, job: 'job', files: new Map(files), place: null };
  }

  const out = (): Record<string, string> => contents(join(dir, 'out'));

  it('of an end that came to nothing are told from those of somebody else, from the first name on', async () => {
    const first = await partsOf({ 'c=1/part-00000': 'one', 'c=2/part-00000': 'two' });
    const place = { dir: join(dir, 'out'), earlierCustom: [] };
    // The process is gone before the second one has its name.
    const renamed: string[] = [];
    const dying: FileSystem = Object.assign(Object.create(nodeFileSystem) as FileSystem, {
      rename: async (from: string, to: string) => {
        if (renamed.some((path) => path.includes('part-'))) throw new Error('killed');
        renamed.push(to);
        await nodeFileSystem.rename(from, to);
      },
    });
    await expect(publishParts({ ...place, parts: first, fileSystem: dying })).rejects.toThrow('killed');
    expect(renamed[0]).toBe(join(dir, 'out', '_manifest.parts.jsonl'));
    expect(Object.keys(out()).filter((path) => path.startsWith('c='))).toHaveLength(1);

    // Another end of the job has other rows, and none with the value 2.
    write(join(dir, 'out'), 'c=3/part-00000', 'whole', 'of somebody');
    const second = await partsOf({ 'c=1/part-00000': 'another', 'c=3/part-00000': 'three' });
    const files = await publishParts({ ...place, parts: second, fileSystem: nodeFileSystem });
    expect(files.map(({ path }) => path)).toEqual(['c=1/part-00000', 'c=3/part-00000~job']);
    const { '_manifest.parts.jsonl': list = '', ...left } = out();
    expect(left).toEqual({
      'c=1/part-00000': 'another',
      'c=3/part-00000': 'of somebody',
      'c=3/part-00000~job': 'three',
    });
    expect(list.trim().split('\n')).toHaveLength(4);
  });
});

describe('files that attempts have put beside the output by themselves', () => {
  const attempt = (...path: string[]): string => join(dir, 'out', '_attempts', 'job', '1.7', ...path);

  /** The archive of an attempt that says where its files are. */
  async function toldOf(location: (path: string) => string): Promise<Buffer> {
    const folder = new CustomFolder(host(), null, 0);
    await folder.begin();
    write(host(), 'x=1/part', 'whole', 'content');
    const body = new ResultBody(join(dir, 'spool'));
    body.append(Buffer.from('rows\n'));
    body.beginCustom();
    const sha256 = createHash('sha256').update('content').digest('hex');
    await folder.collect(new Set(), body, async ({ path, bytes, open }) => {
      for await (const _ of open());
      return { location: location(path), bytes, sha256 };
    });
    return (await bytesOf(body)).subarray(5);
  }

  it('get their names, and again after a crash, without being read', async () => {
    const archive = await toldOf(attempt);
    write(attempt(), 'x=1/part', 'whole', 'content');
    const first = await published([archive]);
    expect(first.files.map(({ path, bytes }) => [path, bytes])).toEqual([['x=1/part', 7]]);
    expect(existsSync(attempt('x=1', 'part'))).toBe(false);
    expect(await published([archive])).toEqual(first);
    expect(readFileSync(join(dir, 'out', 'x=1/part'), 'utf8')).toBe('content');
  });

  it('are not taken when they are gone, cut off, or somewhere else', async () => {
    const archive = await toldOf(attempt);
    await expect(published([archive])).rejects.toThrow(failing('OUTPUT_CORRUPT', 'no '));
    write(attempt(), 'x=1/part', 'whole', 'conte');
    await expect(published([archive])).rejects.toThrow(failing('OUTPUT_CORRUPT', '5 bytes'));
    write(dir, 'secret', 'whole', 'content');
    for (const place of [join(dir, 'secret'), `${attempt()}/../../../../secret`]) {
      await expect(published([await toldOf(() => place)])).rejects.toThrow(
        failing('OUTPUT_CORRUPT', 'no folder of an attempt'),
      );
    }
    expect(readFileSync(join(dir, 'secret'), 'utf8')).toBe('content');
  });
});

describe('mini-batches on several hosts', () => {
  const seeds = Array.from({ length: 25 }, (_, index) => index + 1);

  it.each(seeds)('leave what one worker in input order leaves (%i)', async (seed) => {
    const random = new Random(seed);
    const hosts = Array.from({ length: random.between(1, 4) }, (_, index) => host(String(index)));
    const folders = hosts.map((root) => {
      mkdirSync(root);
      return new CustomFolder(root, 'predictions.csv');
    });
    for (const folder of folders) await folder.begin();
    const sequential = join(dir, 'sequential');
    mkdirSync(sequential);
    // A file is either appended to or written whole: a script that does both has no order to be held to.
    const scripts = Array.from({ length: random.between(1, 12) }, (_, batch) =>
      Array.from({ length: random.between(0, 4) }, () => {
        const how = random.chance(0.5) ? ('append' as const) : ('whole' as const);
        const path = `${random.pick(['', 'sub/', 'sub/deep/'])}${how}-${random.between(0, 2)}`;
        return { how, path, text: `${batch}:${'x'.repeat(random.between(0, 50))};` };
      }),
    );
    for (const script of scripts) for (const { path, how, text } of script) write(sequential, path, how, text);
    const order = scripts.map((_, batch) => ({ batch, at: random.next() })).sort((a, b) => a.at - b.at);
    const archives: Buffer[] = scripts.map(() => Buffer.alloc(0));
    for (const { batch } of order) {
      const index = random.between(0, hosts.length - 1);
      const [root, folder] = [hosts[index] as string, folders[index] as CustomFolder];
      if (random.chance(0.3)) {
        write(root, 'sub/append-0', 'append', 'of a failed attempt');
        write(root, `junk-${batch}`, 'whole', 'junk');
        expect(await folder.undo()).toBe(true);
      }
      const script = scripts[batch] ?? [];
      for (const { path, how, text } of script) write(root, path, how, text);
      const appended = script.filter(({ how }) => how === 'append').map(({ path }) => path);
      archives[batch] = await collected(folder, appended);
    }
    await published(archives);
    expect(contents(join(dir, 'out'))).toEqual(contents(sequential));
  });
});
