import { describe, expect, it } from 'vitest';
import type { FileRows, RowToPut } from '../../worker/scorers/file-rows.ts';
import { RowBatch, type ModelCall } from '../../worker/scorers/row-batch.ts';
import { SpareCells } from '../../worker/scorers/spare-cells.ts';
import type { Cells } from '../../worker/scorers/tensor-cells.ts';

/** Rows of one float32 input whose cells count up from `from`. */
function rowsOf(from: number, rows: number, ...dims: number[]): FileRows {
  const stride = dims.reduce((product, dim) => product * dim, 1);
  const cells = Float32Array.from({ length: rows * stride }, (_, i) => from + i);
  return { rows, inputs: [{ name: 'x', type: 'float32', dims, cells }] };
}

const seen = (calls: readonly ModelCall[]): unknown =>
  calls.map((call) => ({
    rows: call.rows,
    cells: [...(call.inputs[0]?.cells as Float32Array)],
    spans: call.spans.map((span) => [span.fileIndex, span.first, span.rows]),
  }));

const open = (options: Partial<ConstructorParameters<typeof RowBatch>[0]> = {}): RowBatch =>
  new RowBatch({
    batch: null,
    rowsMax: 3,
    bytesMax: 1_000,
    cachedBytes: Infinity,
    rowsMin: 1,
    spare: new SpareCells(),
    ...options,
  });

describe('a call', () => {
  it('has rows of several files, and what is over goes into the next', () => {
    const batch = open();
    expect(batch.add(0, 0, rowsOf(0, 2))).toEqual([]);
    expect(seen(batch.add(1, 7, rowsOf(10, 5)))).toEqual([
      {
        rows: 3,
        cells: [0, 1, 10],
        spans: [
          [0, 0, 2],
          [1, 7, 1],
        ],
      },
      { rows: 3, cells: [11, 12, 13], spans: [[1, 8, 3]] },
    ]);
    expect(seen(batch.flush())).toEqual([{ rows: 1, cells: [14], spans: [[1, 11, 1]] }]);
    expect(batch.flush()).toEqual([]);
  });

  it('is bounded by bytes, and has one row at least', () => {
    expect(seen(open({ bytesMax: 16 }).add(0, 0, rowsOf(0, 2, 2)))).toEqual([
      { rows: 2, cells: [0, 1, 2, 3], spans: [[0, 0, 2]] },
    ]);
    expect(open({ bytesMax: 1 }).add(0, 0, rowsOf(0, 2, 100))).toHaveLength(2);
  });

  it('has no more rows than a processor holds beside the model, but some', () => {
    const limited = { rowsMax: 100, cachedBytes: 80 };
    expect(seen(open(limited).add(0, 0, rowsOf(0, 10, 2)))).toMatchObject([{ rows: 10 }]);
    expect(seen(open({ ...limited, rowsMin: 3 }).add(0, 0, rowsOf(0, 3, 50)))).toMatchObject([{ rows: 3 }]);
    expect(seen(open({ ...limited, rowsMin: 3, bytesMax: 400 }).add(0, 0, rowsOf(0, 2, 50)))).toMatchObject([
      { rows: 2 },
    ]);
  });

  it('has rows of equal dimensions only', () => {
    const batch = open();
    batch.add(0, 0, rowsOf(0, 1, 1, 2));
    expect(seen(batch.add(1, 0, rowsOf(5, 1, 2, 1)))).toEqual([{ rows: 1, cells: [0, 1], spans: [[0, 0, 1]] }]);
    expect(seen(batch.flush())).toEqual([{ rows: 1, cells: [5, 6], spans: [[1, 0, 1]] }]);
  });

  it('is padded with its last row where the model wants a fixed number', () => {
    const batch = open({ batch: 4, rowsMax: 3 });
    expect(seen(batch.add(0, 0, rowsOf(0, 5)))).toEqual([{ rows: 4, cells: [0, 1, 2, 3], spans: [[0, 0, 4]] }]);
    expect(seen(batch.flush())).toEqual([{ rows: 4, cells: [4, 4, 4, 4], spans: [[0, 4, 1]] }]);
  });

  it('has no rows of a file that was dropped', () => {
    const batch = open();
    batch.add(0, 0, rowsOf(0, 1));
    batch.add(1, 0, rowsOf(5, 1));
    batch.drop(1);
    expect(seen(batch.add(2, 0, rowsOf(8, 1)))).toEqual([]);
    expect(seen(batch.flush())).toEqual([
      {
        rows: 2,
        cells: [0, 8],
        spans: [
          [0, 0, 1],
          [2, 0, 1],
        ],
      },
    ]);
  });
});

describe('a row that its reader puts', () => {
  const rowToPut = (from: number, ...dims: number[]): FileRows<RowToPut> => {
    const count = dims.reduce((product, dim) => product * dim, 1);
    const put = (cells: Cells, at: number): void =>
      (cells as Float32Array).set(
        Array.from({ length: count }, (_, i) => from + i),
        at,
      );
    return { rows: 1, inputs: [{ name: 'x', type: 'float32', dims, cellBytes: 4, put }] };
  };

  it('is put where the call has it, in room that the calls before have given back', () => {
    const spare = new SpareCells();
    const rooms = new Set<ArrayBufferLike>();
    for (let round = 0; round < 3; round += 1) {
      const batch = open({ spare });
      const full = [0, 10, 20].flatMap((from, file) => batch.add(file, 0, rowToPut(from + round, 2)));
      expect(seen(full)).toMatchObject([
        { rows: 3, cells: [round, round + 1, round + 10, round + 11, round + 20, round + 21] },
      ]);
      batch.add(3, 0, rowToPut(30, 2));
      for (const call of full) for (const input of call.lent) spare.give(input);
      const last = batch.flush();
      expect(seen(last)).toMatchObject([{ rows: 1, cells: [30, 31] }]);
      for (const call of [...full, ...last]) {
        rooms.add((call.inputs[0]?.cells as Float32Array).buffer);
        for (const input of call.lent) spare.give(input);
      }
    }
    expect(rooms.size).toBe(1);
  });

  it('keeps its room as long as its call has not ended', () => {
    const batch = open({ rowsMax: 1 });
    const [first, second] = [0, 10].flatMap((from, file) => batch.add(file, 0, rowToPut(from, 2)));
    expect(seen([first as ModelCall, second as ModelCall])).toMatchObject([{ cells: [0, 1] }, { cells: [10, 11] }]);
  });

  it('ends a call whose rows have another shape, and counts for the bytes of a call', () => {
    const batch = open({ bytesMax: 16 });
    expect(batch.add(0, 0, rowToPut(0, 2))).toEqual([]);
    const calls = batch.add(1, 0, rowToPut(10, 4));
    expect(seen(calls)).toMatchObject([{ cells: [0, 1] }, { cells: [10, 11, 12, 13] }]);
  });

  it('is repeated until a model of a fixed number of rows has as many', () => {
    const batch = open({ batch: 3 });
    batch.add(0, 0, rowToPut(5, 2));
    expect(seen(batch.flush())).toMatchObject([{ rows: 3, cells: [5, 6, 5, 6, 5, 6] }]);
  });
});
