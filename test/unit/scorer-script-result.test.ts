import { makeVector, Table } from 'apache-arrow';
import { describe, expect, it } from 'vitest';
import { encodeResult } from '../../worker/scorers/script-result.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { openRowEncoder } from '../../common/format/row-encoder.ts';
import { failing } from '../helpers/failing.ts';

const encoder = await openRowEncoder('csv', defaultOutputForm);
const csv = (result: unknown): string => {
  const { schema, pieces } = encodeResult(result, encoder);
  return (schema?.prologue ?? '') + Buffer.concat([...pieces]).toString();
};

describe('a result', () => {
  it.each([
    ['single values', ['a', 1, true], 'result\na\n1\nTrue\n'],
    ['a typed array', Int32Array.of(1, 2), 'result\n1\n2\n'],
    ['dates', [new Date('2024-01-01T00:00:01Z')], 'result\n2024-01-01 00:00:01\n'],
    [
      'arrays',
      [
        ['a', 1],
        ['b', 2],
      ],
      'c0,c1\na,1\nb,2\n',
    ],
    ['typed arrays', [Float32Array.of(0.5, 1), Float32Array.of(2, 3)], 'c0,c1\n0.5,1\n2,3\n'],
    [
      'objects',
      [
        { file: 'a', n: 1 },
        { n: 2, file: 'b' },
      ],
      'file,n\na,1\nb,2\n',
    ],
    ['an Arrow table', new Table({ n: makeVector(Int32Array.of(1, 2)) }), 'n\n1\n2\n'],
    ['nothing', [], ''],
  ])('may be %s', (_, result, text) => {
    expect(csv(result)).toBe(text);
  });

  it('may be a table of another copy of apache-arrow', () => {
    const { schema, batches } = new Table({ n: makeVector(Int32Array.of(1, 2)) });
    expect(csv({ schema, batches })).toBe('n\n1\n2\n');
  });

  it.each([
    [undefined, 'must return an array with one result per row, not undefined'],
    [null, 'not null'],
    ['text', 'not a string'],
    [7, 'not a number'],
    [{ a: 1 }, 'not a value of type Object'],
    [new Map(), 'not a value of type Map'],
    [new Set(['a']), 'not a value of type Set'],
    [(function* () {})(), 'not a value of type'],
    [new DataView(new ArrayBuffer(4)), 'not a value of type DataView'],
    [[undefined], 'row 0 is undefined: does the function that makes it lack a return?'],
    [['a', undefined], 'row 1 is undefined'],
    [['a', { a: 1 }], 'row 1 is a value of type Object, but row 0 is a string'],
    [[Promise.resolve(1)], 'row 0 is a Promise: return await Promise.all'],
    [[new Map()], 'row 0 is a value of type Map, not a plain object'],
    [[() => 1], 'row 0 is a function'],
    [[[1, 2], [3]], 'row 1 has 1 cells, but row 0 has 2'],
    [[[]], 'the rows are empty arrays'],
    [[{}], 'row 0 is a value of type Object without keys'],
    [
      [
        { a: 1, b: 2 },
        { a: 1, c: 2 },
      ],
      'row 1 lacks b and has in addition c',
    ],
  ])('%j is refused', (result, words) => {
    expect(() => csv(result)).toThrow(failing('SCORER_OUTPUT_INVALID', words));
  });
});
