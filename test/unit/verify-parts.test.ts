/** Lines of parts of one file: each contradiction is named, and nothing else is. */
import { expect, it } from 'vitest';
import type { FileLine } from '../../coordinator/output/sealed-lines.ts';
import { PartWalk } from '../../coordinator/verify/part-walk.ts';

function line(path: string, part: FileLine['part'], identity = '30-1'): FileLine {
  const sizeBytes = part === undefined ? 30 : part[1] - part[0];
  return {
    ...{ ordinal: 7, path, size_bytes: sizeBytes, identity, ...(part && { part }), status: 'scored', rows: 1 },
    ...{ mini_batch: [7, 1], attempt: '1.1', attempts: 1, node: 'n', code: null },
  };
}

function found(lines: readonly FileLine[]): readonly string[] {
  const walk = new PartWalk();
  const all = [...lines.flatMap((one) => walk.take(one)), ...walk.end()];
  return all.map(({ kind, message }) => `${kind}: ${message}`);
}

const sound = [line('a', [0, 10]), line('a', [10, 20]), line('a', [20, 30]), line('b', undefined), line('c', [0, 30])];

it.each<[string, readonly FileLine[], readonly string[]]>([
  ['parts that make up their files', sound, []],
  ['etags do not tell a size', [line('a', [0, 10], '"x"'), line('b', undefined)], []],
  ['a hole', [line('a', [0, 10]), line('a', [20, 30])], ['gap: .*bytes 20 to 30.*at byte 10']],
  ['an overlap', [line('a', [0, 20]), line('a', [10, 30])], ['overlap: .*bytes 10 to 30.*at byte 20']],
  ['a part twice', [line('a', [0, 30]), line('a', [0, 30])], ['overlap: .*at byte 30']],
  ['no beginning', [line('a', [10, 30])], ['gap: .*at byte 0']],
  ['no end, before another file', [line('a', [0, 20]), line('b', undefined)], ['gap: .*a file of 30 bytes']],
  ['no end, at the end', [line('a', [0, 20])], ['gap: .*a file of 30 bytes']],
  ['two contents', [line('a', [0, 10], '30-2'), line('a', [10, 30])], ['inconsistent: .*another content']],
  ['the whole behind a part', [line('a', [0, 30]), line('a', undefined)], ['overlap: .*all of a file']],
  ['bytes of another size', [{ ...line('a', [0, 30]), size_bytes: 3 }], ['inconsistent: .*has 3 bytes']],
])('%s', (_, lines, wanted) => {
  expect(found(lines)).toEqual(wanted.map((text) => expect.stringMatching(new RegExp(`^${text}`)) as unknown));
});

it('behind lines that are lost, a file may go on', () => {
  const walk = new PartWalk();
  walk.take(line('a', [0, 10]));
  walk.resume();
  expect([...walk.take(line('b', [20, 30])), ...walk.end()]).toEqual([]);
});
