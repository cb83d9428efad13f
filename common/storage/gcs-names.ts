/**
 * Keys of Google Cloud Storage as its client writes them. The client encodes the name of an object twice when it writes it in one
 * piece, and so writes another object than the one that is meant whenever a name has more than the characters that stand for
 * themselves; it reads, copies and lists right. Such an object is written under a name that no encoding changes, and copied.
 * @source apache/opendal issue 7926; releases with the correction need a newer C library (docs/dependencies.md)
 */
import { createHash } from 'node:crypto';

const plainKey = /^[A-Za-z0-9/._-]*$/;

/** Where an object is written first that cannot be written under its key: always the same place, the nearest folder above that can; null for a key that can. */
export function placeToWriteFirst(key: string): string | null {
  if (plainKey.test(key)) return null;
  const names = key.split('/').slice(0, -1);
  const odd = names.findIndex((name) => !plainKey.test(name));
  const folders = odd < 0 ? names : names.slice(0, odd);
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 32);
  return [...folders, `_writing-${digest}`].join('/');
}
