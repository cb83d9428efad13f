/** Web servers of every temper, each made for its test; a real one is listed in `store-listing`. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { readStored } from '../../common/storage/read-stored.ts';
import type { Stores } from '../../common/storage/stores.ts';
import { inputsByLocation } from '../../coordinator/input/input-by-location.ts';
import { failing } from '../helpers/failing.ts';
import { testStores } from '../helpers/seed-store.ts';

type Answer = (request: IncomingMessage, response: ServerResponse, asked: number) => void;

const never = new AbortController().signal;
const closers: (() => void)[] = [];
let asked: string[] = [];

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function serve(answer: Answer): Promise<{ readonly origin: string; readonly stores: Stores }> {
  asked = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response, asked.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stores: testStores({}) };
}

function page(...links: readonly string[]): string {
  return links.map((link) => `<a href="${link}">${link}</a>`).join('\n');
}

/** Pages for paths that end in `/`, texts for all others. */
function site(files: Readonly<Record<string, string>>): Answer {
  return ({ url = '' }, response) => {
    const body = files[decodeURIComponent(url)];
    if (body === undefined) return void response.writeHead(404).end();
    const type = url.endsWith('/') ? 'text/html; charset=utf-8' : 'text/plain';
    response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
  };
}

async function listed(stores: Stores, location: string): Promise<readonly InputFile[]> {
  const files: InputFile[] = [];
  for await (const one of inputsByLocation(stores).listInput(location, { recursive: true })) files.push(...one);
  return files;
}

async function text(stores: Stores, root: string, file: InputFile): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const one of readStored(
    stores,
    parseLocation(root) as StoreLocation,
    file,
    { offset: 0, end: null },
    never,
  ))
    pieces.push(one);
  return Buffer.concat(pieces).toString();
}

describe('a web folder', () => {
  it('takes links across folders, also of folders that show nothing', async () => {
    const { origin, stores } = await serve(
      site({
        '/in/': page('b', 'dark/x', 'dark/deep/y', 'lit/', 'gone'),
        '/in/b': 'b',
        '/in/dark/x': 'x',
        '/in/dark/deep/y': 'y',
        '/in/lit/': page('z', '/in/b', '../../in/'),
        '/in/lit/z': 'z',
      }),
    );
    const files = await listed(stores, `${origin}/in/`);
    expect(files.map(({ path, identity }) => [path, identity === 'unreadable'])).toEqual([
      ['b', false],
      ['dark/deep/y', false],
      ['dark/x', false],
      ['gone', true],
      ['lit/z', false],
    ]);
  });

  it('ends where links lead round in a circle', async () => {
    const { origin, stores } = await serve(({ url = '' }, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end(url.endsWith('/') ? page('again/') : '');
    });
    const asking = listed(stores, `${origin}/in/`);
    await expect(asking).rejects.toThrow(failing('INPUT_UNREADABLE', 'lead round in a circle'));
    expect(asked).toHaveLength(limits.webDepthMax);
  });

  it('follows redirects on its own server only, and not for ever', async () => {
    const { origin, stores } = await serve(({ url = '' }, response) => {
      const targets: Readonly<Record<string, string>> = {
        '/in': '/in/',
        '/out/': 'http://127.0.0.1:1/in/',
        '/round/': '/round/',
      };
      const target = targets[url];
      if (target !== undefined) response.writeHead(302, { location: target }).end();
      else response.writeHead(200, { 'content-type': 'text/html', 'content-length': 0 }).end();
    });
    const { kind } = await inputsByLocation(stores).inspectInput(`${origin}/in`);
    expect(kind).toBe('folder');
    await expect(listed(stores, `${origin}/out/`)).rejects.toThrow(failing('STORE_DENIED', 'only the server itself'));
    await expect(listed(stores, `${origin}/round/`)).rejects.toThrow(failing('STORE_DENIED', 'leads on and on'));
  });

  it('says what it wants of a page, and that it has no credentials', async () => {
    const { origin, stores } = await serve(({ url }, response) => {
      if (url === '/secret/') response.writeHead(401).end();
      else response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
    const secret = listed(stores, `${origin}/secret/`);
    await expect(secret).rejects.toThrow(failing('STORE_DENIED', 'answered 401 and wants credentials'));
    const data = listed(stores, `${origin}/data/`);
    await expect(data).rejects.toThrow(
      failing('INPUT_UNREADABLE', 'gives application/json, and a page of links was wanted'),
    );
  });

  it('does not read what does not tell its size', async () => {
    const { origin, stores } = await serve(({ url = '' }, response) => {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end(url === '/in/' ? page('endless') : '');
    });
    expect(await listed(stores, `${origin}/in/`)).toEqual([{ path: 'endless', sizeBytes: 0, identity: 'unreadable' }]);
  });
});

describe('a file of a web server', () => {
  const content = 'hello world, and more of it';

  /** The first answer breaks off; ranges are served or not. */
  function breaking(hasRanges: boolean): Answer {
    let gets = 0;
    return ({ method, headers }, response) => {
      const from = hasRanges ? Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0) : 0;
      const total = content.length;
      const range = from > 0 ? { 'content-range': `bytes ${from}-${total - 1}/${total}` } : {};
      const head = { etag: '"v1"', 'content-length': total - from, ...range };
      response.writeHead(from > 0 ? 206 : 200, head);
      gets += method === 'GET' ? 1 : 0;
      if (method === 'HEAD') response.end();
      else if (gets > 1) response.end(content.slice(from));
      else response.write(content.slice(0, 11), () => setImmediate(() => response.destroy()));
    };
  }

  it.each([true, false])('is read to its end when it breaks off; ranges: %j', async (hasRanges) => {
    const { origin, stores } = await serve(breaking(hasRanges));
    const [file] = await listed(stores, `${origin}/in/a.txt`);
    expect(file).toEqual({ path: 'a.txt', sizeBytes: content.length, identity: '"v1"' });
    expect(await text(stores, `${origin}/in/`, file as InputFile)).toBe(content);
    expect(stores.counts).toMatchObject({ retries: 1, reads: 2 });
  });

  it.each([
    ['its etag', { etag: 'W/"v1"' }, { etag: 'W/"v2"' }],
    [
      'its time',
      { 'last-modified': 'Sat, 21 Nov 2026 10:00:00 GMT' },
      { 'last-modified': 'Sat, 21 Nov 2026 10:00:01 GMT' },
    ],
  ])('is refused when %s is another one', async (_, first, second) => {
    const { origin, stores } = await serve(({ method }, response) => {
      const headers: Readonly<Record<string, string>> = method === 'HEAD' ? first : second;
      response.writeHead(200, { ...headers, 'content-length': 1 }).end(method === 'HEAD' ? '' : 'x');
    });
    const [file] = await listed(stores, `${origin}/in/a.txt`);
    const reading = text(stores, `${origin}/in/`, file as InputFile);
    await expect(reading).rejects.toThrow(failing('INPUT_CHANGED', 'when it was listed and is'));
  });

  it.each([
    [404, 'INPUT_UNREADABLE', 'is gone since it was listed'],
    [412, 'INPUT_CHANGED', 'any more'],
    [403, 'STORE_DENIED', 'wants credentials'],
    [503, 'STORE_UNREACHABLE', `asked ${limits.storeTriesMax} times`],
  ] as const)('is not had for %i', async (status, code, why) => {
    const { origin, stores } = await serve(({ method }, response) => {
      const isHead = method === 'HEAD';
      response.writeHead(isHead ? 200 : status, { etag: '"v1"', 'content-length': isHead ? 3 : 0 }).end();
    });
    const [file] = await listed(stores, `${origin}/in/a.txt`);
    await expect(text(stores, `${origin}/in/`, file as InputFile)).rejects.toThrow(failing(code, why));
  });

  it('is looked at by a GET where the server knows no HEAD', async () => {
    const { origin, stores } = await serve(({ method }, response) => {
      if (method === 'HEAD') response.writeHead(405).end();
      else response.writeHead(200, { etag: '"v1"', 'content-length': content.length }).end(content);
    });
    const [file] = await listed(stores, `${origin}/in/a.txt`);
    expect(file).toMatchObject({ sizeBytes: content.length, identity: '"v1"' });
  });
});
