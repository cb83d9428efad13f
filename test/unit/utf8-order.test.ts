import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8Compare } from '../../common/core/utf8.ts';
import { inUtf8Order } from '../../common/storage/utf8-order.ts';
import { sortedUtf8 } from '../helpers/sorted-utf8.ts';

const symbol = fc.constantFrom('a', 'b', '/', '-', 'é', '\ud7ff', '\ue000', '\uff21', '\uffff', '😀', '\u{10ffff}');
const names = fc.uniqueArray(fc.array(symbol, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('')));

async function reordered(keys: readonly string[], pageMax: number): Promise<readonly string[]> {
  const found: string[] = [];
  const pages = async function* (): AsyncGenerator<readonly { readonly key: string }[]> {
    for (let at = 0; at < keys.length; at += pageMax) yield keys.slice(at, at + pageMax).map((key) => ({ key }));
  };
  for await (const page of inUtf8Order(pages())) found.push(...page.map(({ key }) => key));
  return found;
}

describe('the order of UTF-8 bytes', () => {
  it('is that of Node’s own bytes', () => {
    const property = fc.property(names, (keys) => {
      expect(keys.toSorted(utf8Compare)).toEqual(sortedUtf8(keys));
    });
    fc.assert(property);
  });

  it('is made from that of UTF-16 units, in pages of any size', async () => {
    const property = fc.asyncProperty(names, fc.integer({ min: 1, max: 5 }), async (keys, pageMax) => {
      expect(await reordered(keys.toSorted(), pageMax)).toEqual(sortedUtf8(keys));
    });
    await fc.assert(property, { numRuns: 300 });
  });

  it('is left alone where it is one already', async () => {
    const property = fc.asyncProperty(names, async (keys) => {
      expect(await reordered(sortedUtf8(keys), 3)).toEqual(sortedUtf8(keys));
    });
    await fc.assert(property);
  });

  it('passes what is not in question at once', async () => {
    const seen: number[] = [];
    const pages = async function* (): AsyncGenerator<readonly { readonly key: string }[]> {
      for (const key of ['a', 'b', '😀', 'ｚ']) {
        seen.push(-1);
        yield [{ key }];
      }
    };
    for await (const page of inUtf8Order(pages())) seen.push(page.length);
    expect(seen).toEqual([-1, 1, -1, 1, -1, -1, 2]);
  });
});
