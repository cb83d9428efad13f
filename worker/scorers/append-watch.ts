/**
 * Which files a script in JavaScript opens for appending. From outside, the first file of a new host looks the same whether
 * it was appended to or written whole; only who opens it knows. What a script's own child processes open is not seen.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isAbsolute, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

type AnyFunction = (...args: unknown[]) => unknown;

/** Where a function of `node:fs` has its flags; `null`: it always appends. */
const flagsAt: Readonly<Record<string, number | null>> = {
  appendFile: null,
  appendFileSync: null,
  writeFile: 2,
  writeFileSync: 2,
  open: 1,
  openSync: 1,
  createWriteStream: 1,
};

/** Starts at once, and sees all that is imported afterwards. What it gives are the paths since the last call, within `dir`. */
export function watchAppends(dir: string): () => readonly string[] {
  const found = new Set<string>();
  const note = (path: unknown): void => {
    const text = path instanceof URL ? fileURLToPath(path) : Buffer.isBuffer(path) ? path.toString() : path;
    if (typeof text !== 'string') return;
    const within = relative(dir, resolve(text));
    if (within !== '' && !within.startsWith('..') && !isAbsolute(within)) found.add(within.split(sep).join('/'));
  };
  for (const owner of [fs, fs.promises]) watch(owner as unknown as Record<string, unknown>, note);
  syncBuiltinESMExports();
  return () => {
    const paths = [...found];
    found.clear();
    return paths;
  };
}

function watch(owner: Record<string, unknown>, note: (path: unknown) => void): void {
  for (const [name, at] of Object.entries(flagsAt)) {
    const original = owner[name];
    if (typeof original !== 'function') continue;
    const watched = function (this: unknown, ...args: unknown[]): unknown {
      if (at === null || isAppend(args[at])) note(args[0]);
      return (original as AnyFunction).apply(this, args);
    };
    // Functions of fs carry more than their code: promisify finds its own there.
    Object.defineProperties(watched, Object.getOwnPropertyDescriptors(original));
    owner[name] = watched;
  }
}

/** Flags as a text or a number, alone or as `flag` or `flags` of an options object. */
function isAppend(flags: unknown): boolean {
  if (typeof flags === 'string') return /^a/.test(flags);
  if (typeof flags === 'number') return (flags & fs.constants.O_APPEND) !== 0;
  if (typeof flags !== 'object' || flags === null) return false;
  const { flag, flags: more } = flags as { readonly flag?: unknown; readonly flags?: unknown };
  return [flag, more].some((one) => (typeof one === 'string' || typeof one === 'number') && isAppend(one));
}
