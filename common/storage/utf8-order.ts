/**
 * Some stores sort keys by UTF-16 code units, where surrogates stand before the last 8,192 other ones; in UTF-8 bytes they stand
 * behind. Keys that are alike up to the first unit in question, and have one there, follow each other in either order: such a group is
 * held back until it is whole, then sorted. Everything else passes.
 */
import { utf8Compare } from '../core/utf8.ts';

interface Keyed {
  readonly key: string;
}

const unlikeUtf8 = /[\ud800-\uffff]/;

export async function* inUtf8Order<T extends Keyed>(
  pages: AsyncIterable<readonly T[]>,
): AsyncGenerator<readonly T[], void, void> {
  let group: T[] = [];
  let prefix = '';
  for await (const page of pages) {
    const passed: T[] = [];
    for (const item of page) {
      const at = item.key.search(unlikeUtf8);
      const isOfGroup = group.length > 0 && at === prefix.length && item.key.startsWith(prefix);
      if (!isOfGroup) {
        for (const held of sorted(group)) passed.push(held);
        group = [];
      }
      if (at < 0) passed.push(item);
      else {
        prefix = item.key.slice(0, at);
        group.push(item);
      }
    }
    if (passed.length > 0) yield passed;
  }
  if (group.length > 0) yield sorted(group);
}

function sorted<T extends Keyed>(group: T[]): T[] {
  return group.sort((a, b) => utf8Compare(a.key, b.key));
}
