/** What the entries of a list of inputs come to. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listedPaths } from '../../coordinator/input/listed-paths.ts';
import { pathBelow } from '../../coordinator/input/path-below.ts';
import { failing } from '../helpers/failing.ts';

const blob = 'https://acct.blob.core.windows.net/con';

describe('an entry below the input', () => {
  it.each([
    ['s3://bucket/in/', 's3://bucket/in/a/b.png', 'a/b.png'],
    ['s3://bucket/in', 'S3://bucket/in/b c?#%.png', 'b c?#%.png'],
    ['s3://bucket/', 's3://bucket/in/a.png', 'in/a.png'],
    ['gs://bucket/in/', 'gs://bucket/in/sub/', 'sub'],
    ['s3://bucket/in/', './a//b.png', 'a/b.png'],
    ['az://con/in/', 'az://con/in/a.png', 'a.png'],
    [`${blob}/in`, `${blob}/in/a%20b/%C3%BC.png`, 'a b/ü.png'],
    [`${blob}/in`, 'wasbs://con@acct.blob.core.windows.net/in/a b.png', 'a b.png'],
    ['abfss://con@acct.dfs.core.windows.net/in/', `${blob}/in/a%2520.png`, 'a%20.png'],
    ['http://127.0.0.1:9/devstoreaccount1/con/in', 'http://127.0.0.1:9/devstoreaccount1/con/in/a', 'a'],
    ['https://web.example/in/', 'https://WEB.example:443/in/a%20b.png', 'a b.png'],
    ['/data/in', '/data/./in//a.png', 'a.png'],
    ['/data/in', 'file:///data/in/a%20b.png', 'a b.png'],
    ['/', '/data/a.png', 'data/a.png'],
    ['/data/in', './s3:/bucket', 's3:/bucket'],
  ])('of %s: %s', (base, given, path) => {
    expect(pathBelow(base)(given)).toEqual({ path });
  });

  it.each([
    ['s3://bucket/in/', 's3://bucket/inside/a.png', 'is not below the input folder s3://bucket/in/; choose --input'],
    ['s3://bucket/in/', 's3://other/in/a.png', 'is not below the input folder s3://bucket/in/'],
    ['s3://bucket/in/', 'gs://bucket/in/a.png', 'is not below the input folder s3://bucket/in/'],
    ['s3://bucket/in/', '/in/a.png', 'is not below the input folder s3://bucket/in/'],
    ['s3://bucket/in/', 's3://bucket/in', 'is the input folder itself'],
    ['s3://bucket/in/', '../a.png', 'leaves the input folder s3://bucket/in/'],
    [
      's3://bucket/in/',
      's3://bucket/in/../a.png',
      'is no place below the input s3://bucket/in/: the location s3://bucket/',
    ],
    ['s3://bucket/in/', 's3a://bucket/in/a.png', 'did you mean s3://?'],
    ['s3://bucket/in/', 'azureml://datastores/x/paths/in/a.png', 'is a place in a datastore'],
    ['az://con/in/', `${blob}/in/a.png`, 'is not below the input folder az://con/in/'],
    [`${blob}/in`, 'https://other.blob.core.windows.net/con/in/a.png', 'is not below the input folder'],
    ['https://web.example/in/', 'http://web.example/in/a.png', 'is not below the input folder'],
    ['/data/in', 's3://data/in/a.png', 'is not below the input folder /data/in; choose --input'],
    ['/data/in', 'file:///data/other/a.png', 'is not below the input folder /data/in'],
    ['/data/in', 'file://host/data/in/a.png', 'wanted file:///ABSOLUTE/PATH'],
    ['/data/in', 'file:///data/in/a%00', 'has a zero byte'],
  ])('is refused, of %s: %s', (base, given, words) => {
    expect(pathBelow(base)(given)).toEqual({ refusal: expect.stringContaining(words) });
  });
});

describe('a list of addresses', () => {
  async function listed(base: string, lines: readonly string[]): Promise<readonly string[]> {
    const dir = mkdtempSync(join(tmpdir(), 'batchmill-addresses-'));
    try {
      const path = join(dir, 'list.txt');
      writeFileSync(path, lines.join('\n'));
      const found: string[] = [];
      for await (const some of listedPaths(base, { path, column: 'path', identity: null })) found.push(...some);
      return found;
    } finally {
      rmSync(dir, { recursive: true });
    }
  }

  it('is scored in its order, among relative paths', async () => {
    const lines = ['s3://bucket/in/z.png', 'a.png', 's3://bucket/in/sub/b.png'];
    expect(await listed('s3://bucket/in/', lines)).toEqual(['z.png', 'a.png', 'sub/b.png']);
  });

  it('names a file once, however it is spelt', async () => {
    await expect(listed('s3://bucket/in', ['a.png', 'b.png', 's3://bucket/in/a.png'])).rejects.toThrow(
      failing('INPUT_LIST_INVALID', 'line 3: "a.png" was named before, in line 1'),
    );
  });

  it('that leads out says where, to what and from where, and repeats no signature', async () => {
    await expect(listed('s3://bucket/in/', ['a.png', 's3://other/b.png'])).rejects.toThrow(
      failing('INPUT_LIST_INVALID', 'line 2: "s3://other/b.png" is not below the input folder s3://bucket/in/'),
    );
    const signed = listed(`${blob}/in`, [`${blob}/in/a.png?sv=1&sig=SECRET`]);
    await expect(signed).rejects.toThrow(
      failing('INPUT_LIST_INVALID', `line 1: "${blob}/in/a.png?…" is no place below`),
    );
    expect(await signed.catch((error: unknown) => String(error))).not.toContain('SECRET');
  });
});
