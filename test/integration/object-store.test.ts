/** The adapters of stores against real servers: what each must do alike, and what a bad day looks like. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { parseLocation, type StoreLocation } from '../../common/core/location.ts';
import type { PartsForm } from '../../common/core/parts-form.ts';
import { limits } from '../../common/core/limits.ts';
import { sortedUtf8 } from '../helpers/sorted-utf8.ts';
import type { ObjectStore, ReadableStore, StoredObject } from '../../common/ports/object-store.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { Stores } from '../../common/storage/stores.ts';
import { partNames } from '../../coordinator/output/part-names.ts';
import type { SealedOutput } from '../../coordinator/output/sealed-lines.ts';
import { StoreOutput } from '../../coordinator/output/store-output.ts';
import { failing } from '../helpers/failing.ts';
import {
  azuriteEnvironment,
  gcsEnvironment,
  gcsProgram,
  makeBucket,
  makeContainer,
  makeGcsBucket,
  s3Environment,
  startAzurite,
  startGcs,
  startS3,
  type StoreServer,
} from '../helpers/store-servers.ts';
import { startStoreProxy, type Fault, type StoreProxy } from '../helpers/store-proxy.ts';

const never = new AbortController().signal;
const oneFile: PartsForm = {
  ...{ format: 'parquet', partitionBy: [], header: false, fileRows: null, fileBytes: null },
  ...{ rowGroupRows: 1_000, compression: 'snappy' },
};
const nothing = { output: null, errors: null, files: [], segments: [], custom_files: [], custom_chunks: [] };

interface Kind {
  readonly name: string;
  readonly start: () => Promise<StoreServer>;
  readonly make: (origin: string, name: string) => Promise<void>;
  readonly environment: (origin: string) => Readonly<Record<string, string>>;
  readonly location: (name: string) => string;
  /** What the test server lacks, as the reason why a test is passed over. */
  readonly lacks?: { readonly parts: string; readonly conditions: string };
}

const kinds: readonly Kind[] = [
  {
    name: 'S3',
    start: startS3,
    make: makeBucket,
    environment: s3Environment,
    location: (name) => `s3://${name}`,
  },
  {
    name: 'Azure Blob',
    start: startAzurite,
    make: (origin, name) => makeContainer(origin, name, 'private'),
    environment: azuriteEnvironment,
    location: (name) => `az://${name}`,
  },
  {
    name: 'Google',
    start: startGcs,
    make: makeGcsBucket,
    environment: gcsEnvironment,
    location: (name) => `gs://${name}`,
    lacks: {
      parts: 'fake-gcs-server knows no uploads in parts (POST ?uploads), as Google’s own service does',
      conditions: 'fake-gcs-server looks at no If-Match, as Google’s own service does',
    },
  },
];

function storesOf(environment: Readonly<Record<string, string>>): Stores {
  return new Stores({ environment, delay: async () => undefined, random: () => 0 });
}

async function all(pages: AsyncIterable<readonly StoredObject[]>): Promise<readonly StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const page of pages) objects.push(...page);
  return objects;
}

async function keys(store: ReadableStore, prefix: string, isDeep = true): Promise<readonly string[]> {
  return (await all(store.list({ prefix, startAfter: null, isDeep, signal: never }))).map((one) => one.key);
}

async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const got: Uint8Array[] = [];
  for await (const piece of pieces) got.push(piece);
  return Buffer.concat(got);
}

async function* pieceOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

describe.each(kinds)('$name', ({ name: kind, start, make, environment, location, lacks }) => {
  const isThere = kind !== 'Google' || gcsProgram() !== null;
  let server: StoreServer;
  let proxy: StoreProxy;
  let stores: Stores;
  let names = 0;

  beforeEach(({ skip }) => skip(!isThere, 'there is no wheel of fake-gcs-server for this machine'));

  beforeAll(async () => {
    if (!isThere) return;
    server = await start();
    proxy = await startStoreProxy(server.origin);
    stores = storesOf(environment(proxy.origin));
  });

  afterAll(async () => {
    await proxy?.close();
    await server?.close();
  });

  /** A bucket of the test’s own. */
  async function fresh(): Promise<ObjectStore> {
    names += 1;
    const name = `test-${names}`;
    await make(server.origin, name);
    proxy.fault = () => null;
    const { store } = await stores.openToWrite(parseLocation(location(name)) as StoreLocation);
    proxy.asked.length = 0;
    return store;
  }

  /** The first `times` requests of a kind fail so. */
  function failFirst(times: number, fault: Fault): void {
    let left = times;
    proxy.fault = (asked) => (asked.kind !== 'other' && left-- > 0 ? fault : null);
  }

  it('writes, looks, reads from an offset, and removes', async () => {
    const store = await fresh();
    const written = await store.put('a/b c#?%+ü.txt', Buffer.from('hello world'));
    const found = await store.stat('a/b c#?%+ü.txt', never);
    expect(found).toEqual(written);
    expect(found).toMatchObject({ sizeBytes: 11, isReadable: true });
    expect(found?.identity).toMatch(/^".+"$/);
    expect((await bytesOf(store.read(written, 0, never))).toString()).toBe('hello world');
    expect((await bytesOf(store.read(written, 6, never))).toString()).toBe('world');
    await store.remove('a/b c#?%+ü.txt');
    await store.remove('a/b c#?%+ü.txt');
    expect(await store.stat('a/b c#?%+ü.txt', never)).toBeNull();
    await expect(bytesOf(store.read(written, 0, never))).rejects.toThrow(failing('INPUT_UNREADABLE', 'is gone'));
  });

  it('reads large objects by ranges, in order, and an upload in parts is seen whole or not at all', async ({
    skip,
  }) => {
    skip(lacks !== undefined, lacks?.parts);
    const store = await fresh();
    const piece = Buffer.alloc(3_000_000);
    const pieces = Array.from({ length: 7 }, (_, index) => Buffer.from(piece.fill(index + 1)));
    let isEarly = true;
    const written = await store.putParts(
      'large',
      (async function* () {
        for (const one of pieces) yield one;
        isEarly = (await store.stat('large', never)) === null;
      })(),
    );
    expect(isEarly).toBe(true);
    expect(written.sizeBytes).toBe(21_000_000);
    proxy.asked.length = 0;
    const got = await bytesOf(store.read(written, 1_000_000, never));
    expect(got.equals(Buffer.concat(pieces).subarray(1_000_000))).toBe(true);
    expect(proxy.count('get')).toBe(Math.ceil(20_000_000 / limits.storeRangeBytes));
    expect(proxy.asked).toHaveLength(proxy.count('get'));
  });

  it('refuses another content than the one that was listed', async ({ skip }) => {
    skip(lacks !== undefined, lacks?.conditions);
    const store = await fresh();
    const [first, empty] = [await store.put('a', Buffer.from('one')), await store.put('e', Buffer.alloc(0))];
    await store.put('a', Buffer.from('two!'));
    await store.put('e', Buffer.from('x'));
    await expect(bytesOf(store.read(first, 0, never))).rejects.toThrow(failing('INPUT_CHANGED', first.identity));
    await expect(bytesOf(store.read(empty, 0, never))).rejects.toThrow(failing('INPUT_CHANGED', empty.identity));
    // Shorter than what was listed, and listed without an etag.
    const longer = { ...(await store.stat('a', never)), sizeBytes: 40 } as StoredObject;
    await expect(bytesOf(store.read(longer, 30, never))).rejects.toThrow(failing('STORE_UNREACHABLE', 'bytes came'));
  });

  it('keeps names that mean something in an address, whatever is put under them and however', async () => {
    const store = await fresh();
    const texts = { 'label=a b/%2F.txt': 'put', '50 %/ü/_x.txt': 'parts' };
    for (const [key, text] of Object.entries(texts)) {
      const bytes = Buffer.from(text);
      const written = text === 'put' ? await store.put(key, bytes) : await store.putParts(key, pieceOf(bytes));
      expect(await store.stat(key, never)).toEqual(written);
      expect((await bytesOf(store.read(written, 0, never))).toString()).toBe(text);
      expect(await store.copy(key, `copy of/${text}=1`)).toMatchObject({ sizeBytes: bytes.length });
    }
    const wanted = sortedUtf8([...Object.keys(texts), 'copy of/put=1', 'copy of/parts=1']);
    expect(await keys(store, '')).toEqual(wanted);
    expect(await keys(store, '50 %/')).toEqual(['50 %/ü/_x.txt']);
    expect(await store.copy('not/there=1', 'copy of/nothing')).toBeNull();
  });

  it('reads on the condition that it is what was listed, also a part of it', async () => {
    const store = await fresh();
    const written = await store.put('a', Buffer.from('hello world'));
    proxy.asked.length = 0;
    await bytesOf(store.read(written, 6, never));
    const tag = kind === 'Google' ? written.identity.slice(1, -1) : written.identity;
    expect(proxy.asked).toMatchObject([{ kind: 'get', ifMatch: tag, range: 'bytes=6-10' }]);
  });

  it('lists in the order of UTF-8 bytes, deep or one level, markers included', async () => {
    const store = await fresh();
    const names = [
      'a',
      'a-b',
      'a/x',
      'a/y/z',
      'a.b',
      'a0',
      'B',
      'é',
      '\uff21',
      '😀',
      '\uff21/😀',
      '😀x/1',
      'deep/1/2/3',
      'mark/',
    ];
    for (const name of names) await store.put(`in/${name}`, Buffer.from(name.endsWith('/') ? '' : name));
    await store.put('in2/other', Buffer.from('x'));
    const wanted = sortedUtf8(names.map((name) => `in/${name}`));
    expect(await keys(store, 'in/')).toEqual(wanted);
    const level = await keys(store, 'in/', false);
    const ownLevel = names.map((name) => (name.includes('/') ? `in/${name.split('/')[0] ?? ''}/` : `in/${name}`));
    expect(sortedUtf8([...level])).toEqual(sortedUtf8([...new Set(ownLevel)]));
    const rest = await all(store.list({ prefix: 'in/', startAfter: 'in/a/x', isDeep: true, signal: never }));
    expect(rest.map(({ key }) => key)).toEqual(wanted.slice(wanted.indexOf('in/a/x') + 1));
    expect(await keys(store, 'nothing/')).toEqual([]);
  });

  it('goes on with a listing that broke in its middle', async () => {
    const store = await fresh();
    const wanted = Array.from({ length: 1_200 }, (_, index) => `in/${String(index).padStart(5, '0')}`);
    for (let first = 0; first < wanted.length; first += 50) {
      await Promise.all(wanted.slice(first, first + 50).map((key) => store.put(key, Buffer.from(key))));
    }
    proxy.asked.length = 0;
    const before = stores.counts.retries;
    let lists = 0;
    proxy.fault = ({ kind }) => {
      lists += kind === 'list' ? 1 : 0;
      return lists === 2 ? { kind: 'cut', bytes: 500 } : null;
    };
    expect(await keys(store, 'in/')).toEqual(wanted);
    expect(stores.counts.retries).toBe(before + 1);
  });

  it.each([
    ['is asked for patience', { kind: 'status', status: 429 }],
    ['is told that the server is busy', { kind: 'status', status: 503 }],
    ['gets half of the bytes', { kind: 'cut', bytes: 4 }],
  ] as const)('asks again when it %s', async (_, fault) => {
    const store = await fresh();
    const written = await store.put('a', Buffer.from('hello world'));
    const before = { ...stores.counts };
    failFirst(3, fault);
    const read = stores.retries.stream(
      never,
      () => store.read(written, 0, never),
      () => undefined,
    );
    expect((await bytesOf(read)).toString()).toBe('hello world');
    expect(stores.counts.retries - before.retries).toBe(3);
    expect(stores.counts.reads - before.reads).toBe(4);
    failFirst(3, { kind: 'status', status: 503 });
    expect(await keys(store, '')).toEqual(['a']);
    expect(stores.counts.retries - before.retries).toBe(6);
  });

  it('writes and removes again when it is told that the server is busy', async () => {
    const store = await fresh();
    const { retries } = stores.counts;
    const busy = (times: number): void => {
      let left = times;
      proxy.fault = ({ kind: asked }) => (asked === 'other' && left-- > 0 ? { kind: 'status', status: 503 } : null);
    };
    busy(2);
    const written = await store.put('a', Buffer.from('hello'));
    busy(2);
    await store.put('mark/', Buffer.alloc(0));
    expect((await bytesOf(store.read(written, 0, never))).toString()).toBe('hello');
    busy(2);
    await store.remove('a');
    expect(await keys(store, '')).toEqual(['mark/']);
    expect(stores.counts.retries - retries).toBe(6);
  });

  it('stops to try when it is told to, and takes a time that has run out for trouble that may pass', async () => {
    const store = await fresh();
    await store.put('a', Buffer.from('hello'));
    proxy.fault = () => ({ kind: 'status', status: 503 });
    const writes: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
      put: (signal) => store.put('b', Buffer.from('x'), signal),
      remove: (signal) => store.remove('a', signal),
      copy: (signal) => store.copy('a', 'b', signal),
    };
    for (const [name, write] of Object.entries(writes)) {
      const stop = new AbortController();
      proxy.asked.length = 0;
      proxy.fault = () => {
        stop.abort(new Error('stopped'));
        return { kind: 'status', status: 503 };
      };
      await expect(write(stop.signal), name).rejects.toThrow('stopped');
      expect(proxy.asked.length, name).toBe(1);
    }
    proxy.fault = () => null;
    const late = AbortSignal.abort(new DOMException('late', 'TimeoutError'));
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(late);
    onTestFinished(() => timeout.mockRestore());
    await expect(store.copy('a', 'b')).rejects.toThrow(failing('STORE_UNREACHABLE', 'has not answered for 600 s'));
  });

  it('has the output of a job whole where what attempts have left stays, and says what that is', async () => {
    const store = await fresh();
    await store.put('out/_attempts/job/1.1/x', Buffer.from('lost'));
    const dir = mkdtempSync(join(tmpdir(), 'batchmill-store-'));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    writeFileSync(join(dir, '_manifest.json'), '{}');
    const place = { stores, location: location(`test-${names}/out`), dir, fileSystem: nodeFileSystem };
    const output = new StoreOutput({ ...place, job: 'job', signal: never });
    const sealed = { ...nothing, verdict: 'Completed' } as unknown as SealedOutput;
    proxy.fault = ({ method, url }) =>
      method === 'DELETE' && url.includes('_attempts') ? { kind: 'status', status: 503 } : null;
    expect(await output.publish(sealed)).toContain(`${location(`test-${names}/out/_attempts/job`)}: `);
    expect(await keys(store, 'out/')).toEqual(['out/_SUCCESS', 'out/_attempts/job/1.1/x', 'out/_manifest.json']);
    proxy.fault = () => null;
    expect(await output.publish(sealed)).toBeNull();
    expect(await keys(store, 'out/')).toEqual(['out/_SUCCESS', 'out/_manifest.json']);
  });

  /** Of a job that has sealed `rows.csv`, and works in a folder of its own. */
  function sealedJob(job: string, created_at = '1'): { readonly output: StoreOutput; readonly sealed: SealedOutput } {
    const dir = mkdtempSync(join(tmpdir(), 'batchmill-store-'));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    writeFileSync(join(dir, '_manifest.json'), JSON.stringify({ name: job, created_at }));
    writeFileSync(join(dir, 'rows.csv'), job);
    const sealed = { ...nothing, verdict: 'Completed', output: { path: 'rows.csv', bytes: 1, sha256: '' } };
    const place = { stores, location: location(`test-${names}/out`), dir, fileSystem: nodeFileSystem };
    return {
      output: new StoreOutput({ ...place, job, signal: never }),
      sealed: sealed as unknown as SealedOutput,
    };
  }

  async function textOf(store: ObjectStore, key: string): Promise<string> {
    return (await bytesOf(store.read((await store.stat(key, never)) as StoredObject, 0, never))).toString();
  }

  it('replaces no results that another job has put there meanwhile, and its own as often as it is asked to', async () => {
    const store = await fresh();
    const publish = ({ output, sealed }: ReturnType<typeof sealedJob>): Promise<unknown> => output.publish(sealed);
    const first = sealedJob('first');
    expect(await publish(first)).toBeNull();
    for (const other of [sealedJob('second'), sealedJob('first', '2')]) {
      await expect(publish(other)).rejects.toThrow(failing('OUTPUT_EXISTS', 'holds the results of job first'));
    }
    expect(await keys(store, 'out/')).toEqual(['out/_SUCCESS', 'out/_manifest.json', 'out/rows.csv']);
    expect(await textOf(store, 'out/rows.csv')).toBe('first');
    expect(await publish(first)).toBeNull();
  });

  it('says what has the name of a result and is none, replaces it where it may, and what an earlier try has put there', async () => {
    const store = await fresh();
    const { output, sealed } = sealedJob('job');
    await store.put('out/rows.csv', Buffer.from('precious'));
    await expect(output.publish(sealed)).rejects.toThrow(failing('OUTPUT_EXISTS', 'out has rows.csv, which job job'));
    expect(await keys(store, 'out/')).toEqual(['out/rows.csv']);
    expect(await textOf(store, 'out/rows.csv')).toBe('precious');
    await store.remove('out/rows.csv');
    // A try that comes as far as the rows.
    proxy.fault = ({ method, url }) =>
      method !== 'GET' && method !== 'HEAD' && url.includes('_manifest.json') ? { kind: 'status', status: 403 } : null;
    await expect(output.publish(sealed)).rejects.toThrow(failing('STORE_DENIED', '403'));
    expect(await textOf(store, 'out/rows.csv')).toBe('job');
    proxy.fault = () => null;
    expect(await output.publish(sealed)).toBeNull();

    const other = sealedJob('other');
    await other.output.clear({ isOverwrite: true, outputFileName: 'rows.csv', parts: null });
    expect(await keys(store, 'out/')).toEqual([]);
    await store.put('out/rows.csv', Buffer.from('of somebody'));
    expect(await other.output.publish(other.sealed)).toBeNull();
    expect(await textOf(store, 'out/rows.csv')).toBe('other');
  });

  it('sees parts that are there already, in the folders of their partitions, and removes them when it may', async () => {
    const store = await fresh();
    const parts = partNames({
      ...{ outputAction: 'append_row', outputFileName: 'part-00000.parquet' },
      parts: { ...oneFile, partitionBy: ['land', 'jahr=x'] },
    });
    const others = ['land=de/part-00000.parquet', 'land=de/jahr%3Dx=1/notes.txt', 'part-00000.parquet', 'land=x'];
    const own = ['land=de/jahr%3Dx=1/part-00000.parquet', 'land=fr/jahr%3Dx=1/part-00002_0001.parquet'];
    for (const name of [...others, ...own]) await store.put(`out/${name}`, Buffer.from(name));
    const { output } = sealedJob('job');
    const look = output.look({ isOverwrite: false, outputFileName: null, parts });
    await expect(look).rejects.toThrow(failing('OUTPUT_EXISTS', `(${own.join(', ')})`));
    await output.clear({ isOverwrite: true, outputFileName: null, parts });
    expect(await keys(store, 'out/')).toEqual(sortedUtf8(others.map((name) => `out/${name}`)));
  });

  it('gives up in the end, and says so', async () => {
    const store = await fresh();
    proxy.fault = () => ({ kind: 'status', status: 503 });
    const wanted = failing('STORE_UNREACHABLE', `it answered 503; asked ${limits.storeTriesMax} times`);
    await expect(keys(store, '')).rejects.toThrow(wanted);
    await expect(store.stat('a', never)).rejects.toThrow(wanted);
    expect(proxy.asked).toHaveLength(2 * limits.storeTriesMax);
  });

  it('tells a missing bucket from a missing key, and wrong credentials without showing them', async () => {
    await fresh();
    const lost = await stores.open(parseLocation(location('no-such-place')) as StoreLocation);
    await expect(keys(lost.store, '')).rejects.toThrow(failing('INPUT_NOT_FOUND', `${location('no-such-place')}/`));
    proxy.fault = () => ({ kind: 'status', status: 403 });
    const { store } = await stores.open(parseLocation(location('test-1')) as StoreLocation);
    const asked = keys(store, '');
    await expect(asked).rejects.toThrow(failing('STORE_DENIED', '(set)'));
    const message = await asked.catch((error: unknown) => JSON.stringify(error) + String(error));
    for (const secret of Object.values(environment('http://x'))) expect(message).not.toContain(secret.slice(0, 20));
  });
});

it('says that nobody is there', async () => {
  const stores = storesOf(s3Environment('http://127.0.0.1:1'));
  const { store } = await stores.open(parseLocation('s3://bucket') as StoreLocation);
  const asked = keys(store, '');
  await expect(asked).rejects.toThrow(failing('STORE_UNREACHABLE', 's3://bucket/ cannot be reached'));
});
