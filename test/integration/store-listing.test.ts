/** Listings of stores: the order of a folder, in as few requests as can be. Counted, on real servers. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { delay } from '../../common/io/delay.ts';
import type { Stores } from '../../common/storage/stores.ts';
import { inputsByLocation, type Inputs } from '../../coordinator/input/input-by-location.ts';
import type { InputListing } from '../../coordinator/input/list-input.ts';
import { failing } from '../helpers/failing.ts';
import { seed, testStores } from '../helpers/seed-store.ts';
import { sortedUtf8 } from '../helpers/sorted-utf8.ts';
import { startStoreProxy, type StoreProxy } from '../helpers/store-proxy.ts';
import {
  azuriteEnvironment,
  makeBucket,
  makeContainer,
  s3Environment,
  startAzurite,
  startS3,
  startWebServer,
  type StoreServer,
} from '../helpers/store-servers.ts';

const never = new AbortController().signal;

/** What a listing must put in order, and what it must pass over. */
const tree: Readonly<Record<string, string>> = {
  'b.txt': 'b',
  'a.txt': 'a',
  'a/one.txt': '1',
  'a/two/deep.txt': '2',
  'a-b/x.txt': 'x',
  'sp ace+%25 ü.txt': 'odd',
  '😀.txt': 'smile',
  '\uff21.txt': 'wide',
  'empty.txt': '',
  '_hidden.txt': 'no',
  '.hidden/x.txt': 'no',
  '.hidden/y.txt': 'no',
  'a/_logs/z.txt': 'no',
};
const wanted = sortedUtf8(Object.keys(tree).filter((path) => !/(^|\/)[._]/.test(path)));

async function all(listing: InputListing): Promise<readonly InputFile[]> {
  const files: InputFile[] = [];
  for await (const page of listing) files.push(...page);
  return files;
}

const sizes = (files: readonly InputFile[]): readonly (readonly [string, number])[] =>
  files.map(({ path, sizeBytes }) => [path, sizeBytes]);

let s3: StoreServer;
let azurite: StoreServer;
let web: StoreServer;
let dir: string;
let proxies: Record<'s3' | 'azurite' | 'web', StoreProxy>;
let stores: Stores;
let inputs: Inputs;
/** Past the proxies. */
let direct: Stores;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-web-'));
  for (const [path, text] of Object.entries(tree)) {
    mkdirSync(dirname(join(dir, 'in', path)), { recursive: true });
    writeFileSync(join(dir, 'in', path), text);
  }
  [s3, azurite, web] = await Promise.all([startS3(), startAzurite(), startWebServer(dir)]);
  proxies = {
    s3: await startStoreProxy(s3.origin),
    azurite: await startStoreProxy(azurite.origin),
    web: await startStoreProxy(web.origin),
  };
  stores = testStores({ ...s3Environment(proxies.s3.origin), ...azuriteEnvironment(proxies.azurite.origin) });
  inputs = inputsByLocation(stores);
  direct = testStores({ ...s3Environment(s3.origin), ...azuriteEnvironment(azurite.origin) });
  await makeBucket(s3.origin, 'bucket');
  await makeContainer(azurite.origin, 'con', 'private');
  const marked = { ...tree, 'a/': '', 'only-a-marker/': '' };
  await seed(stores, 's3://bucket/in', marked);
  await seed(stores, 'az://con/in', marked);
});

afterAll(async () => {
  for (const one of [...Object.values(proxies ?? {}), s3, azurite, web]) await one?.close();
  rmSync(dir, { recursive: true, force: true });
});

function locationOf(kind: 's3' | 'azurite' | 'web', path: string): string {
  if (kind === 'web') return `${proxies.web.origin}/${path}`;
  return kind === 's3' ? `s3://bucket/${path}` : `az://con/${path}`;
}

describe.each(['s3', 'azurite', 'web'] as const)('%s', (kind) => {
  it('lists what a folder on disk would, in its order', async () => {
    const local = await all(inputs.listInput(join(dir, 'in'), { recursive: true }));
    expect(local.map(({ path }) => path)).toEqual(wanted);
    for (const end of ['', '/']) {
      const listing = inputs.listInput(locationOf(kind, `in${end}`), { recursive: true });
      expect(sizes(await all(listing))).toEqual(sizes(local));
      const markers = kind === 'web' ? 0 : 2;
      expect(listing.skipped).toEqual({ hidden: 3, special: markers, folders: 0, loops: 0, excluded: 0 });
    }
    const options = { recursive: true, include: ['*.txt'], exclude: ['a*/'] };
    const [here, there] = [join(dir, 'in'), locationOf(kind, 'in/')].map((root) => inputs.listInput(root, options));
    const chosen = sizes(await all(here as InputListing));
    expect(sizes(await all(there as InputListing))).toEqual(chosen);
    expect([chosen.length > 0, chosen.length < local.length]).toEqual([true, true]);
    expect(there?.skipped.excluded).toBe(here?.skipped.excluded);
    const flat = inputs.listInput(locationOf(kind, 'in/'), { recursive: false });
    expect((await all(flat)).map(({ path }) => path)).toEqual(wanted.filter((path) => !path.includes('/')));
    expect(flat.skipped.folders).toBe(kind === 'web' ? 2 : 3);
  });

  it('takes a single object', async () => {
    const location = locationOf(kind, 'in/a/one.txt');
    const root = await inputs.inspectInput(location);
    expect(root).toEqual({ kind: 'file', base: locationOf(kind, 'in/a/'), name: 'one.txt' });
    const [file, ...more] = await all(inputs.listInput(location, { recursive: true }));
    expect(more).toEqual([]);
    expect(file).toMatchObject({ path: 'one.txt', sizeBytes: 1 });
    expect(await inputs.statFiles(root.base, ['one.txt', 'gone.txt'])).toEqual([
      file,
      { path: 'gone.txt', sizeBytes: 0, identity: 'unreadable' },
    ]);
  });

  it('says what was meant when nothing is there', async () => {
    const lost = all(inputs.listInput(locationOf(kind, 'inn'), { recursive: true }));
    await expect(lost).rejects.toThrow(failing('INPUT_NOT_FOUND', 'did you mean "in" beside it?'));
  });
});

it('lists a hierarchical account folder by folder', async () => {
  const account = 'abfss://con@devstoreaccount1.dfs.core.windows.net/in';
  const listing = inputs.listInput(account, { recursive: true });
  expect((await all(listing)).map(({ path }) => path)).toEqual(wanted);
  expect(listing.skipped).toEqual({ hidden: 3, special: 0, folders: 0, loops: 0, excluded: 0 });
});

it('passes over Azure’s own folder markers', async () => {
  const url = `${azurite.origin}/devstoreaccount1/con`;
  const { Operator } = await import('opendal');
  const [, key = ''] = /AccountKey=([^;]+)/.exec(Object.values(azurite.environment).join('')) ?? [];
  const options = { container: 'con', endpoint: url.slice(0, -4), account_name: 'devstoreaccount1', account_key: key };
  const operator = new Operator('azblob', options);
  await operator.write('hdi/folder', '', { userMetadata: { hdi_isfolder: 'true' } });
  await operator.write('hdi/folder/file', 'x');
  await operator.write('hdi/plain', '');
  const listing = inputs.listInput('az://con/hdi', { recursive: true });
  expect((await all(listing)).map(({ path }) => path)).toEqual(['folder/file', 'plain']);
  expect(listing.skipped.special).toBe(1);
});

describe('many objects', () => {
  // More than two pages. The requests go by folders, of which more objects have no more.
  const count = 2_500;
  const paths = Array.from({ length: count }, (_, index) => {
    const folder = String(Math.floor((index * 16) / count)).padStart(2, '0');
    return index % 100 === 0 ? `${folder}-${index}.txt` : `${folder}/${String(index).padStart(5, '0')}.txt`;
  });

  it.each(['s3', 'azurite'] as const)(
    '%s: in the order of bytes, in few requests, several at once',
    { timeout: 180_000 },
    async (kind) => {
      const [proxy, location] = [proxies[kind], locationOf(kind, 'many')];
      await seed(direct, location, Object.fromEntries(paths.map((path) => [path, path])));
      proxy.asked.length = 0;
      let open = 0;
      let mostOpen = 0;
      proxy.fault = ({ kind: asked }) => {
        if (asked !== 'list') return null;
        open += 1;
        mostOpen = Math.max(mostOpen, open);
        return { kind: 'hold', until: delay(20, never).then(() => (open -= 1)) };
      };
      const pages: (readonly InputFile[])[] = [];
      let requestsOfFirst = 0;
      for await (const page of inputs.listInput(location, { recursive: true })) {
        if (pages.length === 0) requestsOfFirst = proxy.count('list');
        pages.push(page);
      }
      proxy.fault = () => null;
      expect(pages.flat().map(({ path }) => path)).toEqual(sortedUtf8(paths));
      // One listing of its first page, one of the top level, one each of the folders that were still to come.
      expect(requestsOfFirst).toBe(1);
      expect(proxy.count('list')).toBeLessThanOrEqual(1 + 1 + 1 + 16);
      expect(proxy.count('get')).toBe(0);
      expect(proxy.count('stat')).toBe(1);
      expect(mostOpen).toBeGreaterThan(1);
      expect(mostOpen).toBeLessThanOrEqual(limits.storeShardsAtOnceMax + 1);
    },
  );
});
