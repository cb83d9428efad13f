/** A listing in which large tables are shared out: each of them stands there as its parts, one after the other. */
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { partCount, partOf, type SplitRule } from '../../common/core/split.ts';
import type { InputListing } from './list-input.ts';

/** Pages stay no longer than they may be, however many parts a file has. A rule that is null leaves the listing as it is. */
export function splitListing(
  listing: InputListing,
  rule: SplitRule | null,
  pageFilesMax: number = limits.manifestChunkFiles,
): InputListing {
  if (rule === null) return listing;
  const split = { files: 0, parts: 0 };
  async function* pages(given: SplitRule): AsyncGenerator<readonly InputFile[], void, void> {
    for await (const page of listing) {
      const counts = page.map((file) => partCount(file, given));
      if (counts.every((count) => count === 1)) {
        yield page;
        continue;
      }
      let out: InputFile[] = [];
      for (const [place, file] of page.entries()) {
        const count = counts[place] as number;
        if (count > 1) [split.files, split.parts] = [split.files + 1, split.parts + count];
        for (let index = 0; index < count; index += 1) {
          out.push(count === 1 ? file : partOf(file, index, count));
          if (out.length < pageFilesMax) continue;
          yield out;
          out = [];
        }
      }
      if (out.length > 0) yield out;
    }
  }
  return { skipped: listing.skipped, split, [Symbol.asyncIterator]: () => pages(rule) };
}
