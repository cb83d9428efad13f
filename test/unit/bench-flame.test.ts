/** Flame graphs of the bench: from what V8 saw to a tree, and from the tree to a picture. */
import { describe, expect, test } from 'vitest';
import { flameGraph } from '../../bench/harness/flame-graph.ts';
import { flameTree, type FlameFrame } from '../../bench/harness/flame-tree.ts';
import {
  filesOfLines,
  mainThreadFile,
  sourceOf,
  timesOf,
  type CallFrame,
  type Profile,
} from '../../bench/harness/profile.ts';

const bundleUrl = 'file:///home/somebody/batchmill/dist/bundles/cli/main.mjs';
const files = filesOfLines('import x;\n// coordinator/journal/journal.ts\na\n// common/rpc/translate.ts\nb\n');

const callFrame = (functionName: string, url = '', lineNumber = 0, scriptId = url === '' ? '0' : '7'): CallFrame => ({
  functionName,
  url,
  lineNumber,
  scriptId,
});

/** `append` calls `writeBuffer` and a codec; samples are 10 µs apart. */
const profile: Profile = {
  nodes: [
    { id: 1, callFrame: callFrame('(root)'), children: [2, 3, 4, 7, 8] },
    { id: 2, callFrame: callFrame('(idle)') },
    { id: 3, callFrame: callFrame('(garbage collector)') },
    { id: 4, callFrame: callFrame('append', bundleUrl, 2), children: [5, 6] },
    { id: 5, callFrame: callFrame('writeBuffer') },
    { id: 6, callFrame: callFrame('Grant$encode', '', 3, '9') },
    // The same function, seen from another line.
    { id: 7, callFrame: callFrame('append', bundleUrl, 2), children: [] },
    { id: 8, callFrame: callFrame('', 'file:///home/somebody/batchmill/node_modules/zod/index.js') },
  ],
  startTime: 1_000,
  samples: [4, 5, 2, 3, 7, 6, 8, 5],
  timeDeltas: [10, 10, 10, 10, 10, 10, 10, 10],
};

describe('sources', () => {
  test('lines of the bundle are those of the file that is named before them', () => {
    expect(files).toEqual([
      '',
      'coordinator/journal/journal.ts',
      'coordinator/journal/journal.ts',
      'common/rpc/translate.ts',
      'common/rpc/translate.ts',
      'common/rpc/translate.ts',
    ]);
  });

  test.each([
    [callFrame('f', bundleUrl, 4), 'common/rpc/translate.ts'],
    [callFrame('f', bundleUrl, 0), '(elsewhere)'],
    [callFrame('f', 'file:///a/node_modules/@grpc/grpc-js/build/src/server.js'), '@grpc/grpc-js'],
    [callFrame('f', 'file:///a/node_modules/b/node_modules/zod/v4/core.js'), 'zod'],
    [callFrame('f', 'node:internal/fs/promises'), 'node:internal/fs/promises'],
    [callFrame('f', 'file:///home/somebody/script.mjs'), '(elsewhere)'],
    [callFrame('f'), '(native)'],
    [callFrame('f', '', 0, '12'), '(generated)'],
  ])('%o', (frame, source) => {
    expect(sourceOf(frame, files)).toBe(source);
  });

  test('the main thread of a process is number 0', () => {
    const names = ['CPU.20260101.101010.77.2.001.cpuprofile', 'CPU.20260101.101010.77.0.002.cpuprofile'];
    expect(mainThreadFile(names)).toBe(names[1]);
    expect(mainThreadFile([])).toBeUndefined();
  });
});

describe('tree', () => {
  test('times are those of the spans, each by itself', () => {
    const spans = [
      { from: 1_000, to: 1_025 },
      { from: 1_080, to: 1_090 },
    ];
    expect(timesOf(profile, spans).map((times) => [...times])).toEqual([
      [
        [4, 10],
        [5, 10],
      ],
      [[5, 10]],
    ]);
  });

  test('idling is left out, the same function is one frame, children stand in order of name', () => {
    const tree = flameTree(profile, files, [{ from: 1_000, to: 2_000 }]);
    expect(tree).toEqual({
      ...{ name: 'all', part: 'node', us: 70 },
      children: [
        { name: '(anonymous) zod', part: 'other', us: 10, children: [] },
        { name: '(garbage collector) (native)', part: 'collector', us: 10, children: [] },
        {
          ...{ name: 'append coordinator/journal/journal.ts', part: 'journal', us: 50 },
          children: [
            { name: 'Grant$encode (generated)', part: 'rpc', us: 10, children: [] },
            { name: 'writeBuffer (native)', part: 'node', us: 20, children: [] },
          ],
        },
      ],
    });
  });

  test('a sample counts for half a millisecond at most: others had the processor', () => {
    const late: Profile = { ...profile, samples: [3, 3], timeDeltas: [250, 90_000] };
    expect(flameTree(late, files, [{ from: 1_000, to: 100_000 }]).us).toBe(750);
  });

  test('what had no time in the spans is no frame', () => {
    const tree = flameTree(profile, files, [{ from: 1_000, to: 1_015 }]);
    expect(tree.us).toBe(10);
    expect(tree.children).toEqual([
      { name: 'append coordinator/journal/journal.ts', part: 'journal', us: 10, children: [] },
    ]);
  });
});

describe('picture', () => {
  const head = { workload: '20 files', role: 'worker node', jobs: 5 };
  const leaf = (name: string, us: number): FlameFrame => ({ name, part: 'other', us, children: [] });
  const parent = (children: readonly FlameFrame[], us: number): FlameFrame => ({
    ...{ name: 'all', part: 'other', us, children },
  });

  /** Of the frames: what they say when pointed at, left edge, top and width. */
  const framesOf = (svg: string): readonly (readonly [string, number, number, number])[] =>
    [...svg.matchAll(/<g><title>([^<]*)<\/title><rect class="\w+" x="([\d.]+)" y="(\d+)" width="([\d.]+)"/g)].map(
      ([, title = '', x, y, width]) => [title, Number(x), Number(y), Number(width)],
    );

  test('frames are as wide as their time, above their caller', () => {
    const svg = flameGraph(parent([leaf('a x.ts', 250_000), leaf('b x.ts', 500_000)], 1_000_000), head);
    expect(framesOf(svg)).toEqual([
      ['all: 1,000 ms, 100.0 %', 10, 83, 1_180],
      ['a x.ts: 250 ms, 25.0 %', 10, 66, 295],
      ['b x.ts: 500 ms, 50.0 %', 305, 66, 590],
    ]);
    expect(svg).toContain('20 files, worker node: 1,000 ms of its main thread in 5 warm jobs');
    expect(svg).not.toContain('<script');
  });

  test('what is narrower than 0.2 % is left out and keeps its place', () => {
    const svg = flameGraph(parent([leaf('a', 1_000), leaf('b', 999_000)], 1_000_000), head);
    expect(framesOf(svg).map(([title]) => title)).toEqual(['all: 1,000 ms, 100.0 %', 'b: 999 ms, 99.9 %']);
    expect(framesOf(svg)[1]?.[1]).toBe(11.2);
  });

  test('text is escaped, and cut where the frame ends', () => {
    const svg = flameGraph(parent([leaf('<static "&"> f.ts', 8_000), leaf('b', 992_000)], 1_000_000), head);
    expect(svg).toContain('<title>&lt;static &quot;&amp;&quot;&gt; f.ts: 8.0 ms, 0.8 %</title>');
    const wide = flameGraph(parent([leaf('<static> f.ts', 50_000)], 1_000_000), head);
    expect(wide).toContain('>&lt;stati…</text>');
  });

  test('nothing at work is a picture too', () => {
    expect(framesOf(flameGraph(parent([], 0), head))).toHaveLength(1);
  });

  test('a tree of very many frames leaves out more, until the picture is below 200 KB', () => {
    const deep = (depth: number): FlameFrame =>
      depth === 0
        ? leaf('end', 3_000)
        : { ...leaf(`call-${depth} coordinator/a.ts`, 3_000), children: [deep(depth - 1)] };
    const many = Array.from({ length: 250 }, () => deep(10));
    const mixed = parent([...many, leaf('z', 250_000)], 1_000_000);
    const svg = flameGraph(mixed, head);
    expect(Buffer.byteLength(svg)).toBeLessThan(200_000);
    expect(framesOf(svg).map(([title]) => title)).toEqual(['all: 1,000 ms, 100.0 %', 'z: 250 ms, 25.0 %']);
  });
});
