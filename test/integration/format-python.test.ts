/** Text as Python has it: its own repr, its csv module, pandas. */
import { spawnSync } from 'node:child_process';
import { Bool, Float32, Float64, Int64, Table, Utf8, vectorFromArray } from 'apache-arrow';
import { expect, it } from 'vitest';
import { encodeTable } from '../../common/format/arrow-text.ts';
import { floatText } from '../../common/format/number-text.ts';
import { halfOfFloat } from '../../common/format/half-float.ts';
import { encodeValues } from '../../common/format/value-text.ts';
import { testPython } from '../helpers/python.ts';

function python(program: string, input: Uint8Array | string): string {
  const done = spawnSync(testPython(), ['-c', program], { input, maxBuffer: 2 ** 28 });
  if (done.status !== 0) throw new Error(`python ended with ${done.status}: ${done.stderr.toString()}`);
  return done.stdout.toString();
}

/** A generator of 32-bit numbers that is the same in each run. @source Marsaglia's xorshift32 */
function randoms(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Doubles of any bits, and of the sizes that people have: a few digits, around the bounds of the exponent form. */
function doubles(count: number): Float64Array {
  const random = randoms(20_240_101);
  const bits = new Uint32Array(2 * count);
  const values = new Float64Array(bits.buffer);
  for (let i = 0; i < count; i += 1) {
    bits.set([random(), random()], 2 * i);
    if (i % 2 === 1) values[i] = (random() - 2 ** 31) * 10 ** ((random() % 40) - 24);
    if (i % 8 === 3) values[i] = Math.fround(random() / 2 ** 32);
    if (i % 8 === 5) values[i] = random() / 10 ** (random() % 14);
  }
  return values;
}

it('numbers are those of repr()', () => {
  const values = doubles(100_000);
  const program = 'import sys, array; a = array.array("d", sys.stdin.buffer.read()); print("\\n".join(map(repr, a)))';
  const wanted = python(program, new Uint8Array(values.buffer)).trimEnd().split('\n');
  expect(wanted).toHaveLength(values.length);
  const wrong = Array.from(values, floatText).filter((text, i) => text !== wanted[i]);
  expect(wrong).toEqual([]);
  expect(wanted.filter((text) => text.includes('e')).length).toBeGreaterThan(10_000);
});

it('halves are those of struct.pack("e") and numpy', () => {
  const random = randoms(7);
  const values = Float32Array.from({ length: 50_000 }, () => (random() / 2 ** 31 - 1) * 2 ** ((random() % 46) - 28));
  const program =
    'import sys, numpy; a = numpy.frombuffer(sys.stdin.buffer.read(), numpy.float32); ' +
    'numpy.seterr(all="ignore"); sys.stdout.write(" ".join(map(str, a.astype(numpy.float16).view(numpy.uint16))))';
  const wanted = python(program, new Uint8Array(values.buffer)).split(' ').map(Number);
  expect(wanted).toHaveLength(values.length);
  expect(Array.from(values, halfOfFloat).filter((half, i) => half !== wanted[i])).toEqual([]);
});

it.each([
  ['azure', ' '],
  ['csv', ','],
] as const)('fields of %s are those of csv.writer', (format, delimiter) => {
  const random = randoms(42);
  const alphabet = [...'ab1é🙂', ' ', ',', '"', "'", '\n', '\t', ';'];
  const word = (): string => Array.from({ length: random() % 6 }, () => alphabet[random() % alphabet.length]).join('');
  for (const width of [1, 3]) {
    const rows = Array.from({ length: 5_000 }, () => Array.from({ length: width }, word));
    const program =
      'import sys, json, csv, io; out = io.StringIO(); ' +
      `csv.writer(out, delimiter=${JSON.stringify(delimiter)}, lineterminator="\\n").writerows(json.load(sys.stdin)); ` +
      'sys.stdout.buffer.write(out.getvalue().encode())';
    const names = Array.from({ length: width }, (_, i) => `c${i}`);
    const cell = (row: number, column: number): unknown => rows[row]?.[column];
    const encoded = encodeValues({ kind: 'records', names, rows: rows.length, cell }, format);
    expect(Buffer.concat([...encoded.pieces]).toString()).toBe(python(program, JSON.stringify(rows)));
  }
});

it.each([
  ['azure', 'sep=" ", header=False, index=False'],
  ['csv', 'index=False'],
] as const)('a table in %s is what pandas.to_csv writes', (format, options) => {
  const values = {
    s: ['a b.png', 'say "hi"', 'two\nlines', 'a,b', null, ''],
    i: [1n, -2n, 3n, 9007199254740993n, 0n, 5n],
    d: [0.1, 1e-7, 1e16, NaN, -0, 123456789],
    f: [0.1234, 1, 1e-10, NaN, 3e38, 0.5],
    b: [true, false, true, true, false, false],
  };
  const table = new Table({
    s: vectorFromArray(values.s, new Utf8()),
    i: vectorFromArray(values.i, new Int64()),
    d: vectorFromArray(values.d, new Float64()),
    f: vectorFromArray(values.f, new Float32()),
    b: vectorFromArray(values.b, new Bool()),
  });
  const program = `
import sys, numpy, pandas
nan = float('nan')
print(pandas.DataFrame({
  's': ['a b.png', 'say "hi"', 'two\\nlines', 'a,b', None, ''],
  'i': numpy.array([1, -2, 3, 9007199254740993, 0, 5], numpy.int64),
  'd': [0.1, 1e-7, 1e16, nan, -0.0, 123456789.0],
  'f': numpy.array([0.1234, 1, 1e-10, nan, 3e38, 0.5], numpy.float32).astype(object),
  'b': [True, False, True, True, False, False],
}).astype({'f': numpy.float64}).to_csv(${options}), end='')`;
  const encoded = encodeTable(table, format);
  const text = (encoded.schema?.prologue ?? '') + Buffer.concat([...encoded.pieces]).toString();
  expect(text).toBe(python(program, ''));
});
