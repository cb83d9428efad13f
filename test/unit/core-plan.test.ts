import { describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { BatchTable } from '../../coordinator/core/batch-table.ts';
import { FileSizes } from '../../coordinator/core/file-sizes.ts';
import { Pending } from '../../coordinator/core/pending.ts';
import { cutEnd, cutPage, emptyCut, type ListedSize } from '../../coordinator/core/plan.ts';

/** Sizes of all mini-batches that the pages give. */
function cut(size: ListedSize, ...pages: readonly (readonly number[])[]): readonly number[] {
  let open = emptyCut;
  const sizes: number[] = [];
  for (const page of pages) {
    const cuts = cutPage(open, page, size);
    sizes.push(...cuts.sizes);
    open = cuts.open;
  }
  return [...sizes, ...cutEnd(open).sizes];
}

const ones = (n: number): readonly number[] => Array.from({ length: n }, () => 1);

describe('mini-batches are cut', () => {
  const cases: readonly [string, ListedSize, readonly (readonly number[])[], readonly number[]][] = [
    ['by files within a page', { kind: 'files', files: 2 }, [ones(5)], [2, 2, 1]],
    ['by files across pages', { kind: 'files', files: 3 }, [ones(2), ones(2), ones(2)], [3, 3]],
    ['by files, whatever their bytes', { kind: 'files', files: 2 }, [[1e9, 1e9, 1]], [2, 1]],
    ['by bytes', { kind: 'bytes', bytes: 10 }, [[4, 4, 4, 9, 1, 1]], [2, 1, 2, 1]],
    [
      'by bytes across pages',
      { kind: 'bytes', bytes: 10 },
      [
        [4, 4],
        [2, 1],
      ],
      [3, 1],
    ],
    ['with a file above the bytes by itself', { kind: 'bytes', bytes: 10 }, [[1, 50, 1]], [1, 1, 1]],
    ['with empty files together', { kind: 'bytes', bytes: 10 }, [[0, 0, 0, 10, 1]], [4, 1]],
    ['from nothing into nothing', { kind: 'bytes', bytes: 1 }, [[]], []],
  ];
  it.each(cases)('%s', (_name, size, pages, wanted) => {
    expect(cut(size, ...pages)).toEqual(wanted);
  });

  it('at the limit of files, whatever the bytes allow', () => {
    const sizes = cut({ kind: 'bytes', bytes: 1e12 }, ones(limits.miniBatchFilesMax + 1));
    expect(sizes).toEqual([limits.miniBatchFilesMax, 1]);
  });

  it('the same for any cut of the listing into pages', () => {
    const listing = Array.from({ length: 500 }, (_, index) => (index * 37) % 23);
    for (const size of [
      { kind: 'files', files: 7 },
      { kind: 'bytes', bytes: 40 },
    ] as const) {
      const whole = cut(size, listing);
      for (const pageFiles of [1, 3, 64]) {
        const pages = Array.from({ length: Math.ceil(500 / pageFiles) }, (_, page) =>
          listing.slice(page * pageFiles, (page + 1) * pageFiles),
        );
        expect(cut(size, ...pages)).toEqual(whole);
      }
    }
  });
});

describe('the table of mini-batches', () => {
  it('takes at most 100 bytes a mini-batch, however many there are', () => {
    const table = new BatchTable();
    for (let batch = 0; batch < 200_000; batch += 1) {
      table.append({ first: batch, count: 1 });
      if (batch >= 1_000 && batch % 997 === 0) expect(table.bytes / table.count).toBeLessThanOrEqual(100);
    }
    expect(table.bytes).toBeGreaterThan(200_000 * 40);
  });

  it('keeps what it was told when it grows', () => {
    const table = new BatchTable();
    for (let batch = 0; batch < 1_000; batch += 1) {
      table.append({ first: batch * 3, count: 3 });
      table.setPlace(batch, { segment: 2, offset: batch * 1e10, length: 5e9, crc32: 0xffff_ffff - batch });
      table.setCommit(batch, { rows: 3, schema: 1, token: { epoch: 4, counter: batch }, node: 7 });
      table.setState(batch, 'committed');
      table.addFailure(batch, 'crash');
    }
    const at = 123;
    expect(table.place(at)).toEqual({ segment: 2, offset: at * 1e10, length: 5e9, crc32: 0xffff_ffff - at });
    expect(table.token(at)).toEqual({ epoch: 4, counter: at });
    expect([table.first(at), table.files(at), table.next(at), table.state(at)]).toEqual([369, 3, 124, 'committed']);
    expect([table.rows(at), table.schema(at), table.node(at), table.failures(at), table.crashes(at)]).toEqual([
      3, 1, 7, 1, 1,
    ]);
  });

  it('puts the parts of a split where the whole was', () => {
    const table = new BatchTable();
    const [a, b] = [table.append({ first: 0, count: 5 }), table.append({ first: 5, count: 2 })];
    table.addFailure(a, 'error');
    const children = table.split(a, [2, 1, 2]);
    expect(children.map((child) => [table.first(child), table.files(child), table.failures(child)])).toEqual([
      [0, 2, 1],
      [2, 1, 1],
      [3, 2, 1],
    ]);
    expect([table.next(a), ...children.map((child) => table.next(child))]).toEqual([...children, b]);
    const [, last] = table.split(b, [1, 1]);
    expect(table.next(last as number)).toBe(-1);
    expect(table.next(table.append({ first: 7, count: 1 }))).toBe(-1);
    expect(table.next(last as number)).toBe(table.count - 1);
    expect(() => table.split(children[0] as number, [1])).toThrow(/must add up/);
  });
});

describe('the heap of what may be leased', () => {
  it('gives the lowest in the input order and passes over what is not pending any more', () => {
    const table = new BatchTable();
    const heap = new Pending(table, new FileSizes());
    const batches = Array.from({ length: 300 }, (_, index) => table.append({ first: (index * 7919) % 300, count: 1 }));
    for (const batch of batches) heap.push(batch);
    const found: number[] = [];
    for (let batch = heap.first(); batch !== undefined; batch = heap.first()) {
      found.push(table.first(batch));
      table.setState(batch, 'leased');
    }
    expect(found).toEqual(Array.from({ length: 300 }, (_, index) => index));
    expect(heap.isEmpty).toBe(true);
  });
});
