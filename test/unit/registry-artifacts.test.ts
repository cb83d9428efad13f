import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digest, type Digest } from '../../common/core/ids.ts';
import { formatListing, parseListing, type ListedFile } from '../../common/storage/artifact-listing.ts';
import { ArtifactStore } from '../../coordinator/registry/artifact-store.ts';
import { matching } from '../helpers/matching.ts';
import { canMountSmall, fill, mountSmall, unmountSmall } from '../helpers/small-disk.ts';

let dir = '';
let store: ArtifactStore;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-artifacts-'));
  store = await ArtifactStore.open(join(dir, 'store'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

async function bytesOf(of: Digest, offset = 0): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of store.open(of, offset)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

/** Paths of all blobs in the store. */
async function blobs(): Promise<string[]> {
  const entries = await readdir(join(dir, 'store'), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

async function makeFolder(name: string, files: Record<string, string>): Promise<string> {
  const root = join(dir, name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

describe('a file', () => {
  it('is kept by the digest of its bytes, once, and can be read from any offset', async () => {
    const path = join(dir, 'model.onnx');
    await writeFile(path, 'weights');
    const artifact = await store.add({ kind: 'file', path });
    expect(artifact).toEqual({ kind: 'file', name: 'model.onnx', digest: sha256('weights'), bytes: 7 });
    await writeFile(join(dir, 'copy.onnx'), 'weights');
    expect((await store.add({ kind: 'file', path: join(dir, 'copy.onnx') })).digest).toBe(artifact.digest);
    expect(await blobs()).toEqual([artifact.digest.slice(7)]);
    expect([
      await bytesOf(artifact.digest),
      await bytesOf(artifact.digest, 5),
      await bytesOf(artifact.digest, 7),
    ]).toEqual(['weights', 'ts', '']);
  });

  it('stays what it was when the original changes', async () => {
    const path = join(dir, 'model.onnx');
    await writeFile(path, 'before');
    const { digest: of } = await store.add({ kind: 'file', path });
    await writeFile(path, 'after!');
    expect(await bytesOf(of)).toBe('before');
  });

  it('is put anew when the blob in the store was cut short', async () => {
    const path = join(dir, 'model.onnx');
    await writeFile(path, 'weights');
    const { digest: of } = await store.add({ kind: 'file', path });
    const blob = join(dir, 'store', 'sha256', of.slice(7, 9), of.slice(7));
    await chmod(blob, 0o644);
    await writeFile(blob, 'wei');
    await store.add({ kind: 'file', path });
    expect(await bytesOf(of)).toBe('weights');
  });

  it('is not there under an unknown digest, nor under what is no digest', async () => {
    for (const of of [sha256('nothing'), '../../etc/passwd', 'sha256:../../../../etc/passwd', '']) {
      await expect(bytesOf(digest(of)), of).rejects.toMatchObject({
        code: 'ARTIFACT_NOT_FOUND',
        message: matching(/no artifact/),
      });
      expect(await store.has(digest(of))).toBe(false);
    }
  });

  it('must exist and be of the kind that was said', async () => {
    await expect(store.add({ kind: 'file', path: join(dir, 'none') })).rejects.toMatchObject({
      code: 'DEPLOYMENT_NOT_FOUND',
    });
    await expect(store.add({ kind: 'file', path: dir })).rejects.toMatchObject({ code: 'DEPLOYMENT_INVALID' });
    await writeFile(join(dir, 'file'), '');
    await expect(store.add({ kind: 'folder', path: join(dir, 'file') })).rejects.toMatchObject({
      code: 'DEPLOYMENT_INVALID',
    });
  });
});

describe('a folder', () => {
  const files = { 'score.py': 'def run(): pass', 'lib/a.py': 'a', 'lib-b.py': 'b', 'lib/é.txt': 'a' };

  it('is a listing of its files, in the order of bytes, each a blob', async () => {
    const root = await makeFolder('code', files);
    await chmod(join(root, 'score.py'), 0o755);
    const artifact = await store.add({ kind: 'folder', path: root });
    expect(artifact).toMatchObject({ kind: 'folder', name: 'code', bytes: 18 });
    const listing = await store.listing(artifact.digest);
    expect(listing.map((file) => [file.path, file.mode])).toEqual([
      ['lib-b.py', 0o644],
      ['lib/a.py', 0o644],
      ['lib/é.txt', 0o644],
      ['score.py', 0o755],
    ]);
    expect(sha256(await bytesOf(artifact.digest))).toBe(artifact.digest);
    for (const file of listing) expect(await bytesOf(file.digest)).toBe(files[file.path as keyof typeof files]);
    expect((await blobs()).length).toBe(4);
  });

  it('has the same digest wherever it lies, whenever it was written and whatever Python left in it', async () => {
    const one = await store.add({ kind: 'folder', path: await makeFolder('one', files) });
    const root = await makeFolder('two', {
      ...files,
      '__pycache__/score.cpython-311.pyc': 'x',
      'lib/__pycache__/a.pyc': 'x',
      'old.pyc': 'x',
      '.git/HEAD': 'x',
    });
    await utimes(join(root, 'score.py'), 1, 1);
    const two = await store.add({ kind: 'folder', path: root });
    expect(two).toEqual({ ...one, name: 'two' });
    await writeFile(join(root, 'lib', 'a.py'), 'A');
    expect((await store.add({ kind: 'folder', path: root })).digest).not.toBe(one.digest);
  });

  it('may hold links within itself, and is refused with any other', async () => {
    const root = await makeFolder('linked', files);
    await symlink('score.py', join(root, 'main.py'));
    await symlink('lib', join(root, 'again'));
    const { digest: of } = await store.add({ kind: 'folder', path: root });
    expect((await store.listing(of)).map((file) => file.path)).toEqual([
      'again/a.py',
      'again/é.txt',
      'lib-b.py',
      'lib/a.py',
      'lib/é.txt',
      'main.py',
      'score.py',
    ]);
    const bad: readonly (readonly [string, RegExp])[] = [
      ['/etc/hostname', /linked\/bad is a link to \/etc\/hostname, outside of the folder/],
      ['../linked-beside', /leads nowhere/],
      ['.', /is a link to a folder that it lies in/],
    ];
    for (const [target, message] of bad) {
      await symlink(target, join(root, 'bad'));
      await expect(store.add({ kind: 'folder', path: root }), target).rejects.toMatchObject({
        code: 'DEPLOYMENT_INVALID',
        message: matching(message),
      });
      await rm(join(root, 'bad'));
    }
    await makeFolder('linked-beside', { x: 'x' });
    await symlink('../linked-beside', join(root, 'bad'));
    await expect(store.add({ kind: 'folder', path: root })).rejects.toThrow(/outside of the folder/);
  });

  it('may be empty', async () => {
    await mkdir(join(dir, 'empty'));
    const artifact = await store.add({ kind: 'folder', path: join(dir, 'empty') });
    expect([artifact.bytes, artifact.digest, await store.listing(artifact.digest)]).toEqual([0, sha256(''), []]);
  });
});

/** Cuts what the store has of it. */
async function damage(of: string, text: string): Promise<void> {
  const blob = join(dir, 'store', 'sha256', of.slice(7, 9), of.slice(7));
  await chmod(blob, 0o644);
  await writeFile(blob, text);
}

async function* piecesOf(...pieces: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield await Promise.resolve(Buffer.from(piece));
}

describe('what was cut short', () => {
  const missing = { code: 'ARTIFACT_NOT_FOUND' };

  it('counts as not there for those who ask, submit or read, until it is sent again', async () => {
    const { digest: of, bytes } = await store.addStream(piecesOf('weigh', 'ts'));
    expect([bytes, await store.has(of)]).toEqual([7, true]);
    await damage(of, 'weig');
    // Also after a restart, which has not seen it whole.
    for (const asked of [store, await ArtifactStore.open(join(dir, 'store'))]) {
      expect(await asked.has(of)).toBe(false);
      await expect(asked.keep({ kind: 'file', name: 'm', digest: of, bytes: 7 })).rejects.toMatchObject(missing);
      const laid = asked.layOut({ kind: 'file', name: 'm', digest: of }, join(dir, 'laid'));
      await expect(laid).rejects.toMatchObject(missing);
    }
    await store.addStream(piecesOf('weights'));
    expect([await store.has(of), await bytesOf(of)]).toEqual([true, 'weights']);
  });

  it('is found in a folder by the lengths of its list, and a list by its digest', async () => {
    const files: ListedFile[] = [];
    for (const path of ['a.txt', 'b.txt'])
      files.push({ path, mode: 0o644, ...(await store.addStream(piecesOf(path))) });
    const artifact = await store.addFolder('in', files);
    const [, { digest: second } = { digest: '' }] = files;
    expect(await store.has(artifact.digest)).toBe(true);
    await damage(second, 'b');
    expect(await store.has(artifact.digest)).toBe(false);
    await expect(store.keep(artifact)).rejects.toMatchObject(missing);
    await expect(store.layOut(artifact, join(dir, 'laid'))).rejects.toMatchObject(missing);
    await store.addStream(piecesOf('b.txt'));
    await store.keep(artifact);
    await damage(artifact.digest, formatListing(files.slice(0, 1)).toString());
    await expect(store.layOut(artifact, join(dir, 'laid'))).rejects.toMatchObject(missing);
    await store.addFolder('in', files);
    await store.layOut(artifact, join(dir, 'laid'));
    expect((await readdir(join(dir, 'laid'))).sort()).toEqual(['a.txt', 'b.txt']);
  });

  it('is not looked for in a file that begins as a list does', async () => {
    const line = formatListing([{ path: 'a', digest: digest(sha256('gone')), bytes: 4, mode: 0o644 }]).toString();
    const texts = ['{"path":"a","label":1}\n', `${line}{"path":1}\n`, line.slice(0, -1), '\n', ''];
    for (const text of texts)
      expect([text, await store.has((await store.addStream(piecesOf(text))).digest)]).toEqual([text, true]);
    expect(await store.has((await store.addStream(piecesOf(line))).digest)).toBe(false);
  });

  it('is replaced where it was laid out already, and what is whole there is left alone', async () => {
    const files: ListedFile[] = [];
    for (const path of ['a', 'sub/b']) files.push({ path, mode: 0o644, ...(await store.addStream(piecesOf(path))) });
    const artifact = await store.addFolder('in', files);
    const laid = join(dir, 'laid');
    await store.layOut(artifact, laid);
    const { ino } = await stat(join(laid, 'a'));
    // Of an earlier process, which has linked the damaged one.
    await damage(files[1]?.digest ?? '', 'su');
    store = await ArtifactStore.open(join(dir, 'store'));
    await expect(store.layOut(artifact, laid)).rejects.toMatchObject(missing);
    await store.addStream(piecesOf('sub/b'));
    await store.layOut(artifact, laid);
    expect(await readFile(join(laid, 'sub', 'b'), 'utf8')).toBe('sub/b');
    expect((await stat(join(laid, 'a'))).ino).toBe(ino);
  });
});

describe.skipIf(!canMountSmall())('on a disk that gets full', () => {
  afterEach(unmountSmall);

  it('a file is refused, not cut, and is taken whole when there is room', async () => {
    const disk = join(dir, 'disk');
    mountSmall(disk, 2);
    store = await ArtifactStore.open(join(disk, 'store'));
    const bytes = Buffer.alloc(303_000, 'x');
    const ballast = fill(disk, 299_008);
    await expect(store.addStream(piecesOf(bytes))).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await readdir(join(disk, 'store', 'tmp'))).toEqual([]);
    expect(await readdir(join(disk, 'store', 'sha256'))).toEqual([]);
    await rm(ballast);
    const { digest: of } = await store.addStream(piecesOf(bytes));
    expect((await bytesOf(of)).length).toBe(303_000);
  });
});

describe('a store', () => {
  it('forgets what a crash has left half copied, and keeps the rest', async () => {
    const path = join(dir, 'model.onnx');
    await writeFile(path, 'weights');
    const { digest: of } = await store.add({ kind: 'file', path });
    await writeFile(join(dir, 'store', 'tmp', '7'), 'half');
    store = await ArtifactStore.open(join(dir, 'store'));
    expect(await blobs()).toEqual([of.slice(7)]);
    expect(await bytesOf(of)).toBe('weights');
  });

  it('must be a place that can be written', async () => {
    await writeFile(join(dir, 'file'), '');
    await expect(ArtifactStore.open(join(dir, 'file'))).rejects.toMatchObject({
      code: 'STATE_UNWRITABLE',
      message: matching(new RegExp(basename(dir))),
    });
  });
});

describe('a listing from outside', () => {
  const good: ListedFile = { path: 'a/b.txt', digest: digest(sha256('x')), bytes: 1, mode: 0o644 };

  it('is read as it was written', () => {
    const files = [good, { ...good, path: 'a.txt', mode: 0o755 }, { ...good, path: 'z' }];
    expect(parseListing(formatListing(files)).map((file) => file.path)).toEqual(['a.txt', 'a/b.txt', 'z']);
    expect(parseListing(formatListing([good]))).toEqual([good]);
    expect(parseListing(new Uint8Array(0))).toEqual([]);
  });

  it('never leads out of its folder', () => {
    for (const path of ['/etc/passwd', '../x', 'a/../../x', 'a//b', '.', '', 'a/', 'a\0b']) {
      expect(() => parseListing(formatListing([{ ...good, path }])), JSON.stringify(path)).toThrow(/damaged/);
    }
  });

  it('is refused when it is damaged', () => {
    const line = formatListing([good]).toString();
    const bad = [
      line.slice(0, -1),
      line + line,
      line + formatListing([{ ...good, path: 'a' }]).toString(),
      line.replace('sha256:', 'md5:'),
      line.replace('"bytes":1', '"bytes":-1'),
      line.replace('"mode":420', '"mode":2541'),
      'no json\n',
      '\n',
    ];
    for (const text of bad) {
      expect(() => parseListing(Buffer.from(text)), text).toThrow(
        expect.objectContaining({ code: 'ARTIFACT_CORRUPT' }) as Error,
      );
    }
  });
});
