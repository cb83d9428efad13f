/** Folders and files of a web server, read only: what it links to below a folder is what the folder holds. */
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import { encodePath } from '../core/location.ts';
import { reasonOf } from '../io/errno.ts';
import { mapBounded } from '../io/map-bounded.ts';
import { silenceAfter } from '../io/silence.ts';
import type { ListOrder, ReadableStore, StoredObject } from '../ports/object-store.ts';
import { keysBelow, linksOf } from './html-links.ts';
import type { Retries } from './retries.ts';

export interface WebStoreOptions {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly retries: Retries;
}

interface Reply {
  readonly response: Response;
  /** After redirects. */
  readonly url: URL;
  readonly close: () => void;
  readonly heard: () => void;
}

export class WebStore implements ReadableStore {
  readonly #options: WebStoreOptions;
  /** What pages have linked to across a folder, by that folder. */
  readonly #linked = new Map<string, Set<string>>();

  constructor(options: WebStoreOptions) {
    this.#options = options;
  }

  /** One level; deep listings are for those who know the whole. Sizes are asked for file by file, as pages do not tell them. */
  async *list({ prefix, signal }: ListOrder): AsyncGenerator<readonly StoredObject[], void, void> {
    const keys = await this.#options.retries.run(signal, () => this.#keysIn(prefix, signal));
    const folders = keys.filter((key) => key.endsWith('/'));
    if (folders.length > 0)
      yield folders.map((key) => ({ key, sizeBytes: 0, identity: '', isReadable: true, isFolder: true }));
    const files = keys.filter((key) => !key.endsWith('/'));
    for (let first = 0; first < files.length; first += limits.storePageObjects) {
      yield await this.#look(files.slice(first, first + limits.storePageObjects), signal);
    }
  }

  async #look(keys: readonly string[], signal: AbortSignal): Promise<readonly StoredObject[]> {
    return await mapBounded(keys, limits.storeStatsAtOnceMax, async (key) => {
      const gone: StoredObject = { key, sizeBytes: 0, identity: '', isReadable: false, isFolder: false };
      // A link that leads nowhere is a file that cannot be read.
      return (await this.stat(key, signal).catch((error: unknown) => this.#unlessUnreachable(error))) ?? gone;
    });
  }

  #unlessUnreachable(error: unknown): null {
    if (error instanceof BatchError && error.code === 'STORE_DENIED') return null;
    throw error;
  }

  async #keysIn(prefix: string, signal: AbortSignal): Promise<readonly string[]> {
    this.#options.retries.counts.listings += 1;
    const linked = this.#linked.get(prefix) ?? new Set<string>();
    const reply = await this.#send('GET', prefix, {}, signal);
    try {
      if (reply.response.status === 404 && linked.size > 0) return this.#sorted(prefix, [...linked]);
      this.#check(reply, prefix);
      const type = reply.response.headers.get('content-type') ?? '';
      if (!/^text\/html|^application\/xhtml/i.test(type)) {
        const what = type === '' ? 'something' : type.split(';')[0];
        throw new BatchError(
          'INPUT_UNREADABLE',
          `${this.#name(prefix)} gives ${what}, and a page of links was wanted; leave the "/" at the end away for a single file`,
        );
      }
      const folder = new URL(`${reply.url.pathname.replace(/[^/]*$/, '')}`, reply.url);
      const html = await this.#text(reply);
      return this.#sorted(prefix, [...linked, ...keysBelow(linksOf(html, reply.url.href), folder)]);
    } finally {
      reply.close();
    }
  }

  /** Keys of the level itself; what lies deeper is kept for its own folder. */
  #sorted(prefix: string, below: readonly string[]): readonly string[] {
    const level = new Set<string>();
    for (const key of below) {
      const slash = key.indexOf('/');
      const isDeeper = slash >= 0 && slash < key.length - 1;
      const own = isDeeper ? key.slice(0, slash + 1) : key;
      level.add(`${prefix}${own}`);
      if (!isDeeper) continue;
      const folder = `${prefix}${own}`;
      const linked = this.#linked.get(folder) ?? new Set<string>();
      linked.add(key.slice(slash + 1));
      this.#linked.set(folder, linked);
    }
    return [...level];
  }

  /** `name/` when the server takes the address for a folder’s. */
  async stat(key: string, signal: AbortSignal): Promise<StoredObject | null> {
    return await this.#options.retries.run(signal, async () => {
      this.#options.retries.counts.stats += 1;
      let reply = await this.#send('HEAD', key, {}, signal);
      if (reply.response.status === 405 || reply.response.status === 501) {
        reply.close();
        reply = await this.#send('GET', key, {}, signal);
      }
      try {
        if (reply.response.status === 404 || reply.response.status === 410) return null;
        this.#check(reply, key);
        if (reply.url.pathname.endsWith('/')) {
          return {
            key: key.endsWith('/') ? key : `${key}/`,
            sizeBytes: 0,
            identity: '',
            isReadable: true,
            isFolder: true,
          };
        }
        return objectOf(key, reply.response.headers);
      } finally {
        reply.close();
      }
    });
  }

  async *read(
    object: StoredObject,
    offset: number,
    signal: AbortSignal,
    end: number = object.sizeBytes,
  ): AsyncGenerator<Uint8Array, void, void> {
    const { counts } = this.#options.retries;
    const { key, identity, sizeBytes } = object;
    counts.reads += 1;
    const last = end < sizeBytes ? end - 1 : '';
    const headers = {
      ...(offset > 0 || end < sizeBytes ? { range: `bytes=${offset}-${last}` } : {}),
      ...(identity.startsWith('"') ? { 'if-match': identity } : {}),
    };
    const reply = await this.#send('GET', key, headers, signal);
    try {
      const { status } = reply.response;
      if (status === 404 || status === 410) {
        throw new BatchError('INPUT_UNREADABLE', `${this.#name(key)} is gone since it was listed`);
      }
      if (status === 412 || status === 416) {
        throw new BatchError(
          'INPUT_CHANGED',
          `${this.#name(key)} is not ${identity} any more, as it was when it was listed`,
        );
      }
      this.#check(reply, key);
      const found = objectOf(key, reply.response.headers);
      if (found.identity !== identity) {
        const message = `${this.#name(key)} was ${identity} when it was listed and is ${found.identity} now`;
        throw new BatchError('INPUT_CHANGED', message);
      }
      // A server that knows no ranges sends everything again.
      let skip = status === 206 ? 0 : offset;
      let bytes = offset - skip;
      for await (const piece of this.#body(reply, key)) {
        bytes += piece.length;
        const wanted = piece.subarray(Math.min(skip, piece.length));
        skip -= piece.length - wanted.length;
        counts.bytesRead += wanted.length;
        const behind = end < sizeBytes ? Math.max(0, bytes - end) : 0;
        if (wanted.length > behind) yield wanted.subarray(0, wanted.length - behind);
        // Of one that knows no ranges, the rest is not waited for.
        if (bytes >= end && end < sizeBytes) return;
      }
      if (bytes !== end) {
        throw new BatchError('STORE_UNREACHABLE', `${this.#name(key)}: ${bytes} of ${end} bytes came`);
      }
    } finally {
      reply.close();
    }
  }

  async #text(reply: Reply): Promise<string> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of this.#body(reply, '')) {
      bytes += piece.length;
      if (bytes > limits.webPageBytesMax) {
        throw new BatchError(
          'INPUT_UNREADABLE',
          `${reply.url.href} is a page of more than ${limits.webPageBytesMax} bytes`,
        );
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString('utf8');
  }

  async *#body({ response, heard }: Reply, key: string): AsyncGenerator<Uint8Array, void, void> {
    if (response.body === null) return;
    try {
      for await (const piece of response.body as AsyncIterable<Uint8Array>) {
        heard();
        yield piece;
      }
    } catch (error) {
      if (error instanceof BatchError) throw error;
      throw this.#unreachable(key, error);
    }
  }

  /** Follows redirects that stay on the server. @throws STORE_UNREACHABLE, STORE_DENIED for one that leaves it */
  async #send(
    method: 'GET' | 'HEAD',
    key: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Reply> {
    const { origin } = this.#options;
    let url = new URL(`${origin}/${encodePath(key)}`);
    for (let redirects = 0; redirects <= limits.webRedirectsMax; redirects += 1) {
      const silence = silenceAfter(limits.storeSilenceMsMax, signal);
      const over = new AbortController();
      const close = (): void => {
        silence.close();
        over.abort();
      };
      let response: Response;
      try {
        response = await fetch(url, {
          method,
          // Sizes are those of the file, not of what it is packed to.
          headers: { ...headers, 'accept-encoding': 'identity' },
          redirect: 'manual',
          signal: AbortSignal.any([silence.signal, over.signal]),
        });
      } catch (error) {
        close();
        signal.throwIfAborted();
        throw this.#unreachable(key, error);
      }
      const target = response.status >= 300 && response.status < 400 ? response.headers.get('location') : null;
      if (target === null) return { response, url, close, heard: () => silence.heard() };
      close();
      url = this.#redirected(target, url, key);
    }
    throw new BatchError(
      'STORE_DENIED',
      `${this.#name(key)} leads on and on: more than ${limits.webRedirectsMax} redirects`,
    );
  }

  #redirected(target: string, from: URL, key: string): URL {
    const to = URL.canParse(target, from.href) ? new URL(target, from) : null;
    if (to !== null && to.origin === from.origin) return to;
    const where = to === null ? 'nowhere' : `to ${to.origin}`;
    throw new BatchError('STORE_DENIED', `${this.#name(key)} leads ${where}, and only the server itself is followed`);
  }

  #check({ response, url }: Reply, key: string): void {
    const { status } = response;
    if (response.ok) return;
    const where = this.#name(key);
    if (status === 404 || status === 410)
      throw new BatchError('INPUT_NOT_FOUND', `${where} does not exist: it answered ${status}`);
    if (status === 429 || status === 408 || status >= 500) {
      throw new BatchError('STORE_UNREACHABLE', `${where} cannot be reached: it answered ${status}`);
    }
    const what = status === 401 || status === 403 ? 'wants credentials, and none are sent to web servers' : 'refuses';
    throw new BatchError('STORE_DENIED', `${where} cannot be used: ${url.host} answered ${status} and ${what}`);
  }

  #unreachable(key: string, error: unknown): BatchError {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return new BatchError('STORE_UNREACHABLE', `${this.#name(key)} cannot be reached: ${reasonOf(cause)}`, {
      cause: error,
    });
  }

  #name(key: string): string {
    return `${this.#options.origin}/${encodePath(key)}`;
  }
}

/** Size and identity from the head of an answer; one that does not tell its size cannot be held against anything. */
function objectOf(key: string, headers: Headers): StoredObject {
  const etag = headers.get('etag') ?? '';
  const modified = headers.get('last-modified') ?? '';
  const whole = /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] ?? headers.get('content-length');
  const sizeBytes = Number(whole ?? 0);
  const time = Date.parse(modified);
  const stamp = Number.isNaN(time) ? '' : new Date(time).toISOString();
  const isEtag = /^(W\/)?"/.test(etag);
  return {
    key,
    sizeBytes,
    identity: isEtag ? etag : `${sizeBytes}-${stamp}`,
    isReadable: whole !== null,
    isFolder: false,
  };
}
