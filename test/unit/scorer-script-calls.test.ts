/** Calls of a script's run() that are halved where the device has no memory for all files of a mini-batch. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tableFromArrays, type Table } from 'apache-arrow';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { ScriptCalls } from '../../worker/scorers/script-calls.ts';
import type { RunContext } from '../../worker/scorers/script-types.ts';

let customDir = '';
beforeAll(() => void (customDir = mkdtempSync(join(tmpdir(), 'batchmill-script-calls-'))));
afterAll(() => rmSync(customDir, { recursive: true, force: true }));

const said: string[] = [];
const calls: number[] = [];
const begun: number[] = [];
beforeEach(() => [said, calls, begun].forEach((list) => list.splice(0)));

/** A script with memory for four files. */
function opened(
  result: (names: readonly string[]) => unknown,
  learned: number | null = null,
  filesMax = 4,
): ScriptCalls {
  const run = (paths: string[], { names, files }: RunContext): unknown => {
    calls.push(paths.length);
    expect([names.length, files.length]).toEqual([paths.length, paths.length]);
    const given = [...names];
    // It is the script's own.
    paths.length = 0;
    if (given.length > filesMax) throw new Error('CUDA out of memory. Tried to allocate 2.00 GiB');
    return result(given);
  };
  const context = { modelPath: null, codeDir: '/', outputDir: customDir, job: 'job', node: 'node', process: 0 };
  return new ScriptCalls({ script: { run }, context, customDir, learned, say: (text) => said.push(text) });
}

const files = Array.from({ length: 10 }, (_, index) => ({ path: `/in/${index}`, name: String(index) }));
const run = (of: ScriptCalls, some = files): Promise<unknown> => of.run(some, (index) => begun.push(index));

test('are halved until they fit, stay so, and are told once', async () => {
  const script = opened((names) => names);
  expect(await run(script)).toEqual(files.map(({ name }) => name));
  expect(calls).toEqual([10, 5, 2, 2, 2, 2, 2]);
  expect([script.takeLearned(), script.takeLearned()]).toEqual([2, null]);
  expect(said[0]).toContain('no memory for 10 files in one call of run(), 5 from here on: Error: CUDA out of memory');
  calls.length = 0;
  expect(await run(script, files.slice(0, 3))).toEqual(['0', '1', '2']);
  // Of which file a call is, is known where it is of one.
  expect([calls, begun, script.takeLearned()]).toEqual([[2, 1], [2], null]);
});

test('begin with what was learnt before; a mini-batch without files is called all the same', async () => {
  const script = opened((names) => names, 4);
  expect(await run(script)).toHaveLength(10);
  expect(await run(script, [])).toEqual([]);
  expect([calls, script.takeLearned()]).toEqual([[4, 4, 2, 0], null]);
});

test.each([
  ['typed arrays', (names: readonly string[]) => Float32Array.from(names, Number), Float32Array.from(files.keys())],
  [
    'of big integers',
    (names: readonly string[]) => BigInt64Array.from(names, BigInt),
    BigInt64Array.from(files.keys(), BigInt),
  ],
  ['rows of cells', (names: readonly string[]) => names.map((name) => [name, 1]), files.map(({ name }) => [name, 1])],
])('are put together: %s', async (_, result, wanted) => {
  expect(await run(opened(result))).toEqual(wanted);
});

test('are put together: Arrow tables', async () => {
  const whole = (await run(opened((names) => tableFromArrays({ n: Int32Array.from(names, Number) })))) as Table;
  expect([...(whole.getChild('n') ?? [])]).toEqual([...files.keys()]);
});

test('that return now this, now that, are no result', async () => {
  const script = opened((names) => (names.includes('0') ? new Float32Array(2) : new Float64Array(2)));
  await expect(run(script)).rejects.toMatchObject({
    code: 'SCORER_OUTPUT_INVALID',
    message: expect.stringContaining(
      '5 calls of run(), for want of memory, which returned a value of type Float32Array and',
    ) as string,
  });
});

test('of a file alone, of other failures and of scripts that have written files fail as they do', async () => {
  await expect(run(opened((names) => names, null, 0))).rejects.toThrow('CUDA out of memory');
  expect(calls).toEqual([10, 5, 2, 1]);
  const other = opened(() => {
    throw new RangeError('Array buffer allocation failed');
  }, 4);
  await expect(run(other)).rejects.toThrow('Array buffer');
  calls.length = 0;
  writeFileSync(join(customDir, 'rows.txt'), 'a row');
  await expect(run(opened((names) => names))).rejects.toThrow('CUDA out of memory');
  expect(calls).toEqual([10]);
});
