/**
 * The input order: relative paths compared as UTF-8 bytes, a folder as `name/`. Sorting each folder's own names so and going
 * depth first gives the same order as sorting all paths.
 */
import { utf8Compare } from '../../common/core/utf8.ts';

/** A UTF-16 code unit from here on may stand in another order than its UTF-8 bytes do. */
const unlikeUtf8 = /[\ud800-\uffff]/;

/** Sorts in place. `keys`: names of files, names of folders with a `/` behind. */
export function sortKeys(keys: string[]): string[] {
  // The order of code units is that of the bytes but for the far end of Unicode, and much faster to sort by.
  return keys.some((key) => unlikeUtf8.test(key)) ? keys.sort(utf8Compare) : keys.sort();
}
