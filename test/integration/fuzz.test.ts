/** A short run of the fuzzer over all targets, and proof that it sees what it is meant to see. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { fuzz, type Defect, type TargetCount } from '../fuzz/fuzz.ts';
import { makeInput } from '../fuzz/mutate.ts';
import { nothingOpen, outcomeOf, type FuzzTarget, type OpenTarget } from '../fuzz/target.ts';
import { fuzzTargets } from '../fuzz/targets.ts';
import { Random } from '../sim/world.ts';

let dir = '';
let defects: Defect[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-fuzz-'));
  defects = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function run(targets: readonly FuzzTarget[], inputs: number, seed: number): Promise<readonly TargetCount[]> {
  return await fuzz({
    ...{ targets, inputs, seed, dir },
    onDefect: (defect) => defects.push(defect),
    onTarget: () => undefined,
  });
}

test(
  '20,000 inputs: none crashes, none is answered as a defect, none is accepted wrongly',
  { timeout: 300_000 },
  async () => {
    const counts = await run(fuzzTargets, 20_000, Number(process.env['FUZZ_SEED'] ?? 7));
    expect(defects.map(({ target, number, error }) => `${target} ${number}: ${String(error)}`)).toEqual([]);
    expect(counts.reduce((sum, { inputs }) => sum + inputs, 0)).toBeGreaterThan(19_900);
    // A target that accepts nothing, or refuses nothing, is not reached.
    for (const { name, accepted, refused } of counts)
      expect([name, accepted > 0, refused > 0]).toEqual([name, true, true]);
  },
);

const target = (name: string, run: OpenTarget['run']): FuzzTarget => ({
  ...{ name, weight: 1 },
  open: () => Promise.resolve({ samples: { valid: [Buffer.from('{"a":1}')], words: [] }, run, close: nothingOpen }),
});

test('a crash, an INTERNAL, and what nobody waits for are defects; a refusal by code is none', async () => {
  const counts = await run(
    [
      target('crash', () => outcomeOf(() => void JSON.parse('{'))),
      target('internal', () =>
        outcomeOf(() => {
          throw new BatchError('INTERNAL', 'oh');
        }),
      ),
      target('refused', () =>
        outcomeOf(() => {
          throw new BatchError('FRAME_CORRUPT', 'no');
        }),
      ),
      target('rejected', async () => {
        throw await Promise.resolve(new Error('later'));
      }),
    ],
    40,
    1,
  );
  expect(counts.map(({ name, defects: found }) => [name, found])).toEqual([
    ['crash', 10],
    ['internal', 10],
    ['refused', 0],
    ['rejected', 10],
  ]);
  expect(counts[2]?.codes).toEqual({ FRAME_CORRUPT: 10 });
});

test('the same seed makes the same inputs, another one others', () => {
  const inputs = (seed: number): string[] => {
    const random = new Random(seed);
    const samples = { valid: [Buffer.from('{"rows":[1,2],"name":"x"}')], words: ['null'] };
    return Array.from({ length: 50 }, () => makeInput(random, samples).toString('hex'));
  };
  expect(inputs(1)).toEqual(inputs(1));
  expect(inputs(1)).not.toEqual(inputs(2));
  expect(new Set(inputs(1)).size).toBeGreaterThan(40);
});

test('every target has faults to find, and each still stands in the source', () => {
  const path = (name: string): string => packageFile(...name.split('/'));
  const mutations = JSON.parse(readFileSync(path('test/fuzz/mutations.json'), 'utf8')) as readonly Mutation[];
  expect(new Set(mutations.map((mutation) => mutation.target))).toEqual(new Set(fuzzTargets.map(({ name }) => name)));
  const places = mutations.map(({ path: file, find }) => [
    file,
    readFileSync(path(file), 'utf8').split(find).length - 1,
  ]);
  expect(places).toEqual(mutations.map(({ path: file }) => [file, 1]));
});

/** `npm run fuzz -- --mutations` puts them into the source, one at a time. */
interface Mutation {
  readonly target: string;
  readonly path: string;
  readonly find: string;
}
