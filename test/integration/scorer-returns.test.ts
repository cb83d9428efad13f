/** What `run()` may return, and what the rows come to: points of Azure's contract on counts and mixed results. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { failedFiles } from '../../common/core/result.ts';
import { openBench, patience, scored, textOf, type HostBench } from '../helpers/python-host.ts';

let bench: HostBench;
beforeEach(() => {
  bench = openBench();
});
afterEach(async () => await bench.close());

it('an empty list: every file counts as failed', async () => {
  bench.code('batch_driver.py', 'def run(mini_batch):\n    return []\n');
  const outcome = await (await bench.start()).score(bench.files('a', 'b'), patience);
  expect(await textOf(outcome)).toBe('');
  const { summary } = scored(outcome);
  expect([summary.rows, summary.failed, failedFiles(summary, 2)]).toEqual([0, [], 2]);
});

it('a DataFrame, then a list: both are appended', async () => {
  bench.code(
    'batch_driver.py',
    `import os, pandas as pd
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    if names[0] == "a": return pd.DataFrame({"file": names, "is right": [True] * len(names)})
    return [[name, False] for name in names]
`,
  );
  const host = await bench.start();
  const first = await host.score(bench.files('a', 'b c'), patience);
  expect(await textOf(first)).toBe('a True\n"b c" True\n');
  const second = await host.score(bench.files('d'), patience);
  expect(await textOf(second)).toBe("['d', False]\n");
  // The coordinator refuses rows of another schema: `azure` has none.
  expect([first, second].map((outcome) => scored(outcome).summary.schema)).toEqual([null, null]);
});
