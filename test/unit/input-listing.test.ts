import { writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { noneSkipped } from '../../common/core/skipped-names.ts';
import { readFolder } from '../../coordinator/input/folder-names.ts';
import { sortKeys } from '../../coordinator/input/input-order.ts';
import { nearestName } from '../../coordinator/input/input-root.ts';
import { listInput, type ListOptions } from '../../coordinator/input/list-input.ts';
import { statFiles } from '../../coordinator/input/stat-files.ts';
import { matching } from '../helpers/matching.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-input-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

async function make(...paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(join(dir, path, '..'), { recursive: true });
    await writeFile(join(dir, path), path);
  }
}

/** A path in the folder whose name has a byte that UTF-8 never has. */
function notUtf8(start: string, end: string): Buffer {
  return Buffer.concat([Buffer.from(join(dir, start)), Buffer.of(0xff), Buffer.from(end)]);
}

async function list(root: string = dir, options: Partial<ListOptions> = {}) {
  const listing = listInput(root, { recursive: true, ...options });
  const pages: (readonly InputFile[])[] = [];
  for await (const page of listing) pages.push(page);
  return { files: pages.flat(), paths: pages.flat().map((file) => file.path), pages, skipped: listing.skipped };
}

describe('the input order', () => {
  it('is that of all relative paths as UTF-8 bytes', async () => {
    const paths = [
      'a/z.csv',
      'a.csv',
      'a-b/x',
      'a0',
      'a/b/c',
      'Z',
      'é',
      'z',
      '～',
      '𝄞',
      'a/b.csv',
      'b/\u{e000}',
      'b/😀',
    ];
    await make(...paths);
    const wanted = [...paths].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect((await list()).paths).toEqual(wanted);
    expect(wanted.slice(0, 6)).toEqual(['Z', 'a-b/x', 'a.csv', 'a/b.csv', 'a/b/c', 'a/z.csv']);
  });

  it('sorts surrogates behind what is below them', () => {
    expect(sortKeys(['𝄞', '\uffff', 'a'])).toEqual(['a', '\uffff', '𝄞']);
  });
});

describe('a listing', () => {
  it('comes in full pages across folders, and gives size and identity of each file', async () => {
    await make('a/1', 'a/2', 'b/1', 'b/2', 'b/3', 'c');
    await utimes(join(dir, 'c'), 1_700_000_000, 1_700_000_000.5);
    await writeFile(join(dir, 'empty'), '');
    const { pages, files } = await list(dir, { pageFilesMax: 3 });
    expect(pages.map((page) => page.map((file) => file.path))).toEqual([
      ['a/1', 'a/2', 'b/1'],
      ['b/2', 'b/3', 'c'],
      ['empty'],
    ]);
    const { mtimeNs } = await stat(join(dir, 'c'), { bigint: true });
    expect(files[5]).toEqual({ path: 'c', sizeBytes: 1, identity: `1-${mtimeNs}` });
    expect(String(mtimeNs)).toBe('1700000000500000000');
    expect(files[6]?.sizeBytes).toBe(0);
  });

  it('has no page at all for an empty folder', async () => {
    expect(await list()).toMatchObject({ pages: [], skipped: { hidden: 0 } });
  });

  it.each([1_023, 1_024, 1_025, 2_048])('has each of %i names of a folder once', async (count) => {
    const names = Array.from({ length: count }, (_, index) => String(index).padStart(5, '0'));
    for (const name of names) writeFileSync(join(dir, name), '');
    expect((await readFolder(dir, noneSkipped())).keys).toEqual(names);
  });

  it('passes over hidden names and special files, and counts them', async () => {
    await make('.hidden', '_SUCCESS', '.git/config', '_logs/a/b', 'shown', 'sub/.DS_Store');
    const socket = createServer().listen(join(dir, 'socket'));
    await new Promise((resolve) => socket.once('listening', resolve));
    const { paths, skipped } = await list();
    await new Promise((resolve) => socket.close(resolve));
    expect(paths).toEqual(['shown']);
    expect(skipped).toEqual({ hidden: 5, special: 1, folders: 0, loops: 0, excluded: 0 });
  });

  it('stays in the folder itself when it is not recursive', async () => {
    await make('a', 'sub/b', 'other/c');
    const { paths, skipped } = await list(dir, { recursive: false });
    expect([paths, skipped.folders]).toEqual([['a'], 2]);
  });

  it('takes what include and exclude leave, in the same order, and opens no folder that can hold nothing of it', async () => {
    await make('a.jpg', 'a.txt', 'raw/1.jpg', 'raw/deep/2.jpg', 'raw/deep/_3.jpg', 'old/4.jpg', 'other/x/5.txt');
    const opened: string[] = [];
    const options = {
      include: ['raw/**/*.jpg', 'a.*'],
      exclude: ['*.txt', 'old/'],
      readFolder: (...args: Parameters<typeof readFolder>) => {
        opened.push(args[0].slice(dir.length));
        return readFolder(...args);
      },
    };
    const all = await list(dir, options);
    expect(all.paths).toEqual(['a.jpg', 'raw/1.jpg', 'raw/deep/2.jpg']);
    // a.txt and the folder old; `a.*` may be anywhere, so that the folders of `other` are opened.
    expect(all.skipped).toEqual({ hidden: 1, special: 0, folders: 0, loops: 0, excluded: 3 });
    expect(opened).toEqual(['', '/other', '/other/x', '/raw', '/raw/deep']);
    opened.length = 0;
    const some = await list(dir, { ...options, include: ['raw/*.jpg', '/a.jpg'.slice(1)] });
    expect(some.paths).toEqual(['a.jpg', 'raw/1.jpg']);
    expect(opened).toEqual(['', '/other', '/other/x', '/raw', '/raw/deep']);
    opened.length = 0;
    const few = await list(dir, { ...options, include: ['raw/*.jpg'] });
    expect([few.paths, opened, few.skipped.excluded]).toEqual([['raw/1.jpg'], ['', '/raw'], 5]);
  });

  it('asks of a single file too whether it is wanted', async () => {
    await make('a.jpg');
    const { pages, skipped } = await list(join(dir, 'a.jpg'), { exclude: ['*.jpg'] });
    expect([pages, skipped.excluded]).toEqual([[], 1]);
    expect((await list(join(dir, 'a.jpg'), { include: ['*.jpg'] })).paths).toEqual(['a.jpg']);
  });

  it('follows links to files and folders, in their place, and is not caught in a loop', async () => {
    await make('real/1', 'real/deep/2');
    await symlink('real', join(dir, 'a-link'));
    await symlink('real/1', join(dir, 'b-link'));
    await symlink('..', join(dir, 'real', 'up'));
    await symlink('.', join(dir, 'real', 'deep', 'self'));
    const { paths, skipped } = await list();
    expect(paths).toEqual(['a-link/1', 'a-link/deep/2', 'b-link', 'real/1', 'real/deep/2']);
    expect(skipped.loops).toBe(4);
  });

  it('keeps the place of what cannot be looked at: it fails there, not in silence', async () => {
    await make('a', 'z');
    await symlink('nowhere', join(dir, 'dangling'));
    await writeFile(notUtf8('n', '.txt'), 'x');
    const { files } = await list();
    expect(files.map((file) => [file.path, file.identity === unreadableIdentity])).toEqual([
      ['a', false],
      ['dangling', true],
      ['n\ufffd.txt', true],
      ['z', false],
    ]);
  });

  it('looks at files in order whatever order the answers come in', async () => {
    const names = Array.from({ length: 500 }, (_, index) => `f${String(index).padStart(3, '0')}`);
    await make(...names);
    const files = await statFiles(dir, [...names, 'vanished']);
    expect(files.map((file) => file.path)).toEqual([...names, 'vanished']);
    expect(files.at(-1)).toEqual({ path: 'vanished', sizeBytes: 0, identity: unreadableIdentity });
    expect(await statFiles(dir, [])).toEqual([]);
  });

  it('passes on what a look-up throws, also to a caller who stops early', async () => {
    await make('a', 'b', 'c', 'd', 'e', 'f');
    const failing = (): Promise<never> => Promise.reject(new Error('look-up failed'));
    await expect(list(dir, { pageFilesMax: 1, statFiles: failing })).rejects.toThrow('look-up failed');
    for await (const page of listInput(dir, { recursive: true, pageFilesMax: 1 })) {
      expect(page.length).toBe(1);
      break;
    }
  });
});

describe('an input path', () => {
  it('may be a single file, also a hidden one', async () => {
    await make('sub/_one.csv');
    const { files } = await list(join(dir, 'sub', '_one.csv'));
    expect(files).toMatchObject([{ path: '_one.csv', sizeBytes: 12 }]);
  });

  it('that does not exist is answered with the nearest name', async () => {
    await make('inputs/a', 'models/b');
    const attempt = (path: string) => expect(list(join(dir, path))).rejects;
    await attempt('input').toMatchObject({
      code: 'INPUT_NOT_FOUND',
      message: matching(/input does not exist; did you mean "inputs" in /),
    });
    await attempt('inptus/2026').toMatchObject({ code: 'INPUT_NOT_FOUND', message: matching(/did you mean "inputs"/) });
    await attempt('quite-different').toMatchObject({ message: matching(/has no "quite-different"/) });
    await attempt('inputs/a/b').toMatchObject({ code: 'INPUT_NOT_FOUND' });
  });

  it('must be a file or a folder', async () => {
    await expect(list('/dev/null')).rejects.toMatchObject({
      code: 'INPUT_UNREADABLE',
      message: matching(/\/dev\/null is neither/),
    });
  });

  it('whose folder cannot be read ends the listing, naming the folder', async () => {
    await make('a');
    await mkdir(notUtf8('d', ''));
    await expect(list()).rejects.toMatchObject({
      code: 'INPUT_UNREADABLE',
      message: matching(/d\ufffd cannot be read.*not UTF-8; rename it/),
    });
  });
});

describe('the nearest name', () => {
  it('is within a few edits, or none', () => {
    expect(nearestName('heart', ['hearts', 'head', 'mnist'])).toBe('hearts');
    expect(nearestName('Images', ['images'])).toBe('images');
    expect(nearestName('a', ['b'])).toBe('b');
    expect(nearestName('abc', ['xyz'])).toBeNull();
    expect(nearestName('abc', [])).toBeNull();
  });
});
