/** How many rows go into a call of a model: the climb, on devices of which a formula says how long a call takes, and want of memory. */
import { describe, expect, it } from 'vitest';
import { afterCall, afterShortage, climbFrom, settledAt, type CallSize } from '../../worker/core/call-size.ts';
import { CallSizer } from '../../worker/scorers/call-sizer.ts';
import { cutCall, type ModelCall } from '../../worker/scorers/row-batch.ts';

/** Sizes of the full calls until it has settled. */
function climbed(
  first: CallSize,
  seconds: (rows: number) => number,
  rowsMax = 4_096,
): { sizes: number[]; end: CallSize } {
  const sizes: number[] = [];
  let size = first;
  while (!size.isSettled && sizes.length < 1_000) {
    sizes.push(size.rows);
    size = afterCall(size, size.rows, seconds(size.rows), rowsMax);
  }
  return { sizes, end: size };
}

describe('the climb', () => {
  it('doubles while a call costs more than its rows, and settles where twice as many gain little', () => {
    // 10 ms for a call, 0.1 ms for a row: 512 rows are 1.16 times as fast as 256, 1,024 are 1.09 times as fast as 512.
    const { sizes, end } = climbed(climbFrom(32), (rows) => 0.01 + rows * 0.0001);
    expect([...new Set(sizes)]).toEqual([32, 64, 128, 256, 512, 1_024]);
    expect(end).toEqual(settledAt(512));
    // A first one that is not measured, and three that are.
    expect(sizes).toHaveLength(6 * 4);
  });

  it('does not go above the most, and is not led astray by a slow first call of a size or a hiccup', () => {
    expect(climbed(climbFrom(32), () => 0.01, 200).end).toEqual(settledAt(128));
    let calls = 0;
    const hiccups = (rows: number): number => ((calls += 1) % 4 === 3 ? 0.01 : 1) * (0.01 + rows * 0.0001);
    expect(climbed(climbFrom(32), hiccups).end).toEqual(settledAt(512));
  });

  it('takes no notice of the last rows of a mini-batch', () => {
    expect(afterCall(climbFrom(32), 7, 0.001, 4_096)).toEqual(climbFrom(32));
    expect(afterCall(settledAt(64), 64, 100, 4_096)).toEqual(settledAt(64));
  });

  it('ends at half of what had no memory; one row cannot be halved', () => {
    expect(afterShortage(256)).toEqual(settledAt(128));
    expect(afterShortage(1)).toBe(null);
  });
});

/** Rows 0 to `rows` − 1 of two files, of two numbers each. */
function call(rows: number, second = 3): ModelCall {
  const cells = Float32Array.from({ length: rows * 2 }, (_, index) => index);
  const spans = [
    { fileIndex: 0, first: 10, rows: rows - second },
    { fileIndex: 1, first: 0, rows: second },
  ];
  return { inputs: [{ name: 'x', type: 'float32', cells, dims: [2] }], rows, spans, lent: [] };
}

const sum = ({ rows, inputs }: ModelCall): readonly number[] =>
  Array.from({ length: rows }, (_, row) => {
    const cells = inputs[0]?.cells as Float32Array;
    return (cells[2 * row] ?? 0) + (cells[2 * row + 1] ?? 0);
  });

describe('a device with little memory', () => {
  const options = { rowsMax: 64, learned: null, climbs: false, isCuttable: true, now: () => 0 };

  it('scores a call in parts, in order, and what comes after it in calls that fit', async () => {
    const [tried, said]: [number[], string[]] = [[], []];
    const sizer = new CallSizer({ ...options, say: (text) => said.push(text) });
    const score = async (part: ModelCall): Promise<readonly number[]> => {
      tried.push(part.rows);
      if (part.rows > 6) throw new Error('CUDA failure 2: out of memory ; GPU=0');
      return Promise.resolve(sum(part));
    };
    const parts = await sizer.run(call(20), score);
    expect(tried).toEqual([20, 10, 5, 5, 5, 5]);
    expect(parts.flatMap(({ outputs }) => outputs)).toEqual(sum(call(20)));
    expect(parts.flatMap(({ call: { spans } }) => spans)).toEqual([
      { fileIndex: 0, first: 10, rows: 5 },
      { fileIndex: 0, first: 15, rows: 5 },
      { fileIndex: 0, first: 20, rows: 5 },
      { fileIndex: 0, first: 25, rows: 2 },
      { fileIndex: 1, first: 0, rows: 3 },
    ]);
    expect([sizer.rows, sizer.takeLearned(), sizer.takeLearned()]).toEqual([5, 5, null]);
    expect(said[0]).toContain('no memory for a call of 20 rows; 10 at a time from here on: CUDA failure 2');
  });

  it('fails where a single row is too much, where calls cannot be cut, and with whatever is no want of memory', async () => {
    const say = (): void => undefined;
    const full = (): Promise<never> => Promise.reject(new Error('CUDA out of memory. Tried to allocate 2.00 GiB'));
    await expect(new CallSizer({ ...options, say }).run(call(4), full)).rejects.toThrow('CUDA out of memory');
    const tries: number[] = [];
    const counted = (part: ModelCall): Promise<never> => (tries.push(part.rows), full());
    await expect(new CallSizer({ ...options, say, isCuttable: false }).run(call(4), counted)).rejects.toThrow('CUDA');
    const wrong = (part: ModelCall): Promise<never> => (
      tries.push(part.rows),
      Promise.reject(new Error('wrong shape'))
    );
    await expect(new CallSizer({ ...options, say }).run(call(4), wrong)).rejects.toThrow('wrong shape');
    expect(tries).toEqual([4, 4]);
  });

  it('begins with what was learnt', () => {
    const sizer = new CallSizer({ ...options, climbs: true, learned: 24, say: () => undefined });
    expect([sizer.rows, sizer.takeLearned()]).toEqual([24, null]);
  });
});

it('a call is cut between files too', () => {
  const [head, tail] = cutCall(call(6), 3);
  expect([head.spans, tail.spans]).toEqual([
    [{ fileIndex: 0, first: 10, rows: 3 }],
    [{ fileIndex: 1, first: 0, rows: 3 }],
  ]);
  expect([...sum(head), ...sum(tail)]).toEqual(sum(call(6)));
});
