import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { identified } from '../../coordinator/input/listed-paths.ts';
import { listInput, type ListOptions } from '../../coordinator/input/list-input.ts';
import { SeenPaths } from '../../coordinator/input/seen-paths.ts';
import type { StatFiles } from '../../coordinator/input/stat-files.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-list-'));
  mkdirSync(join(dir, 'in', 'raw'), { recursive: true });
  for (const name of ['a.txt', 'b.txt', 'raw/c.txt', '_d.txt']) writeFileSync(join(dir, 'in', name), name);
});
afterEach(() => rmSync(dir, { recursive: true }));

async function list(name: string, content: string | Buffer, more: Partial<ListOptions> & { column?: string } = {}) {
  const { column = 'path', ...options } = more;
  const path = join(dir, name);
  writeFileSync(path, content);
  const files: InputFile[] = [];
  const given = { recursive: true, list: { path, column, identity: null }, ...options };
  const listing = listInput(join(dir, 'in'), given);
  for await (const page of listing) files.push(...page);
  return { files, paths: files.map((file) => file.path), skipped: listing.skipped };
}

const parquet = (column: string, data: unknown[], rowGroupSize = 2): Buffer =>
  Buffer.from(parquetWriteBuffer({ columnData: [{ name: column, data, type: 'STRING' }], rowGroupSize }));

const order = ['raw/c.txt', 'b.txt', '_d.txt', 'a.txt'];

describe('a list of inputs', () => {
  it.each([
    ['list.txt', '\ufeffraw/c.txt\r\n# a comment\r\n\r\nb.txt\n_d.txt\na.txt'],
    ['list', `./raw//c.txt\nraw/../b.txt\n_d.txt\na.txt\n`],
    ['list.csv', 'id,path\n1,raw/c.txt\n2,"b.txt"\r\n\n3,_d.txt\n4,a.txt\n'],
    ['list.TSV', 'path\tid\nraw/c.txt\t1\nb.txt\t2\n_d.txt\t3\na.txt\t4'],
    ['list.jsonl', '{"path":"raw/c.txt"}\n\n{"id":2,"path":"b.txt"}\n{"path":"_d.txt"}\n{"path":"a.txt"}'],
    ['list.parquet', null],
  ])('%s gives its files in its order, hidden names as well', async (name, content) => {
    const { paths, files, skipped } = await list(name, content ?? parquet('path', order));
    expect(paths).toEqual(order);
    expect(files[0]).toMatchObject({ sizeBytes: 9 });
    expect(skipped).toEqual({ hidden: 0, special: 0, folders: 0, loops: 0, excluded: 0 });
  });

  it.each(['.csv', '.jsonl', '.parquet'])('%s: another column by its name', async (ending) => {
    const contents: Readonly<Record<string, string | Buffer>> = {
      '.csv': 'file name\na.txt\n',
      '.jsonl': '{"file name":"a.txt"}\n',
      '.parquet': parquet('file name', ['a.txt']),
    };
    const content = contents[ending] ?? '';
    expect((await list(`l${ending}`, content, { column: 'file name' })).paths).toEqual(['a.txt']);
    await expect(list(`l${ending}`, content)).rejects.toThrow(
      failing('INPUT_LIST_INVALID', 'has no column "path", only file name; --input-list-column names'),
    );
  });

  it('takes absolute paths that are below the input', async () => {
    const { paths } = await list('l.txt', `${join(dir, 'in', 'a.txt')}\n${join(dir, 'in', 'raw', '.', 'c.txt')}\n`);
    expect(paths).toEqual(['a.txt', 'raw/c.txt']);
  });

  it('leaves out what is excluded, also by a folder above, and counts it', async () => {
    const { paths, skipped } = await list('l.txt', order.join('\n'), { exclude: ['raw', 'b.*'], include: ['*.txt'] });
    expect([paths, skipped.excluded]).toEqual([['_d.txt', 'a.txt'], 2]);
  });

  it('keeps the place of a file that is not there, of a folder and of a link to nowhere', async () => {
    symlinkSync('nowhere', join(dir, 'in', 'dangling'));
    const { files } = await list('l.txt', 'gone.txt\nraw\ndangling\na.txt\n');
    expect(files.map(({ path, identity }) => [path, identity === unreadableIdentity])).toEqual([
      ['gone.txt', true],
      ['raw', true],
      ['dangling', true],
      ['a.txt', false],
    ]);
  });

  it.each([
    ['l.txt', 'a.txt\n# x\n../b\n', 'line 3: "../b" leaves the input folder'],
    ['l.txt', 'raw/../..\n', 'line 1: "raw/../.." leaves the input folder'],
    ['l.txt', '\n/etc/passwd', 'line 2: "/etc/passwd" is not below the input folder'],
    ['l.txt', '.\n', 'line 1: "." is the input folder itself'],
    ['l.txt', 'a\0b', 'line 1: "a\\u0000b" has a zero byte'],
    ['l.txt', 'a.txt\nb.txt\n./a.txt', 'line 3: "a.txt" was named before, in line 1; keep one of the two'],
    ['l.txt', Buffer.from('a.txt\nb\xffc.txt\n', 'latin1'), 'line 2: is not UTF-8'],
    ['l.txt', Buffer.from('a.txt\nb\xff', 'latin1'), 'line 2: is not UTF-8'],
    ['l.csv', Buffer.from('path\na.txt\n\xff\n', 'latin1'), 'line 3: is not UTF-8'],
    ['l.txt', 'x'.repeat(limits.inputListLineBytesMax + 300_000), 'line 1: this line is longer than'],
    ['l.csv', '', 'is empty; wanted a first line that names its columns, "path" among them'],
    ['l.csv', 'id,path\n1,a.txt\n2\n', 'line 3: wanted a path in the column "path", found nothing'],
    ['l.csv', 'path\n"a.txt\n', 'is no CSV: Quote Not Closed'],
    ['l.jsonl', '{"path":"a.txt"}\n{"path":', 'line 2: is no JSON'],
    ['l.jsonl', '["a.txt"]', 'line 1: wanted a JSON object with a key "path", found ["a.txt"]'],
    ['l.jsonl', '{"path":7}', 'line 1: wanted a path in the column "path", found 7'],
    ['l.parquet', 'PAR1 and nothing else', 'is no Parquet that can be decoded'],
    ['l.parquet', null, 'row 3: wanted a path in the column "path", found nothing'],
  ] as const)('%s that is wrong is refused, case %#', async (name, content, words) => {
    const given = content ?? parquet('path', ['a.txt', 'b.txt', null]);
    await expect(list(name, given)).rejects.toThrow(failing('INPUT_LIST_INVALID', words));
  });

  it('is refused cut off at any place, as Parquet', async () => {
    const whole = parquet('path', order);
    for (let length = 0; length < whole.length; length += 7) {
      await expect(list('l.parquet', whole.subarray(0, length))).rejects.toThrow(
        failing('INPUT_LIST_INVALID', 'l.parquet'),
      );
    }
  });

  it('without a file names none', async () => {
    expect((await list('l.txt', '# nothing\n\n')).files).toEqual([]);
    expect((await list('l.csv', 'path\n')).files).toEqual([]);
    expect((await list('l.parquet', parquet('path', []))).files).toEqual([]);
  });

  it('must be there, be a file, and be the one that it was', async () => {
    const of = (name: string) => ({
      ...{ include: [], exclude: [], recursive: true },
      list: { path: join(dir, name), column: 'path', identity: null },
    });
    await expect(identified(of('gone.txt'))).rejects.toThrow(failing('INPUT_NOT_FOUND', 'gone.txt does not exist'));
    await expect(identified(of('in'))).rejects.toThrow(failing('INPUT_UNREADABLE', 'in is no regular file'));
    writeFileSync(join(dir, 'l.txt'), 'a.txt\n');
    const known = await identified(of('l.txt'));
    const firstPage = async (root: string): Promise<unknown> => {
      const pages = listInput(join(dir, root), known);
      return await pages[Symbol.asyncIterator]().next();
    };
    const first = (await firstPage('in')) as { value: unknown };
    expect(first.value).toMatchObject([{ path: 'a.txt' }]);
    appendFileSync(join(dir, 'l.txt'), 'b.txt\n');
    await expect(firstPage('in')).rejects.toThrow(
      failing('INPUT_CHANGED', 'l.txt changed since the job was submitted'),
    );
    await expect(firstPage('in/a.txt')).rejects.toThrow(failing('REQUEST_INVALID', 'a.txt is a file; with the list'));
  });

  it('that changes while it is read is noticed', async () => {
    const path = join(dir, 'l.txt');
    writeFileSync(path, order.join('\n'));
    const given = { recursive: true, list: { path, column: 'path', identity: null }, pageFilesMax: 1 };
    const listing = listInput(join(dir, 'in'), given);
    const pages = listing[Symbol.asyncIterator]();
    await pages.next();
    appendFileSync(path, '\nmore.txt');
    const rest = async (): Promise<void> => {
      while ((await pages.next()).done !== true);
    };
    await expect(rest()).rejects.toThrow(failing('INPUT_CHANGED', 'changed while it was being read'));
  });

  it('reads each file’s size once, and holds no more of the list than a piece', async () => {
    const count = 50_000;
    const names = Array.from({ length: count }, (_, index) => `part-${index % 100}/file-${index}.txt`);
    let looked = 0;
    let ahead = 0;
    const counting: StatFiles = (_base, paths) => {
      looked += paths.length;
      ahead = Math.max(ahead, looked - taken);
      return Promise.resolve(paths.map((path) => ({ path, sizeBytes: 1, identity: '1-1' })));
    };
    const path = join(dir, 'l.txt');
    writeFileSync(path, names.join('\n'));
    let taken = 0;
    const given = { recursive: true, list: { path, column: 'path', identity: null }, statFiles: counting };
    for await (const page of listInput(join(dir, 'in'), given)) {
      expect(page.map((file) => file.path)).toEqual(names.slice(taken, taken + page.length));
      taken += page.length;
    }
    expect([taken, looked]).toEqual([count, count]);
    expect(ahead).toBeLessThanOrEqual(3 * limits.manifestChunkFiles);
  });
});

describe('paths that were seen', () => {
  it('are known again, all of them, and no other', () => {
    const seen = new SeenPaths();
    const path = (index: number): string => `part-${index >> 8}/file-${index}.jpg`;
    for (let index = 0; index < 300_000; index += 1) expect(seen.add(path(index))).toBe(true);
    for (let index = 0; index < 300_000; index += 1_000) expect(seen.add(path(index))).toBe(false);
    expect(seen.add('')).toBe(true);
    expect(seen.add('')).toBe(false);
  });
});
