/** Points of Azure's contract for scoring scripts that need a real host and stand in no other test. */
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

it('what a process prints that the script starts is in its log', async () => {
  bench.code(
    'batch_driver.py',
    `import subprocess, sys
def run(mini_batch):
    subprocess.run([sys.executable, "-c", "import sys; print('from a child'); print('its trouble', file=sys.stderr)"])
    return mini_batch
`,
  );
  scored(await (await bench.start()).score(bench.files('a'), patience));
  const logged = (stream: string): string =>
    bench.printed
      .filter((chunk) => chunk.stream === stream)
      .map(({ text }) => text)
      .join('');
  expect([logged('stdout'), logged('stderr')]).toEqual(['from a child\n', 'its trouble\n']);
});

it.each([
  ['debug', ['DEBUG', 'INFO', 'WARNING']],
  ['info', ['INFO', 'WARNING']],
  ['warning', ['WARNING']],
] as const)('logging_level %s: the root logger lets through %j', async (loggingLevel, wanted) => {
  bench.code(
    'batch_driver.py',
    `import logging
def run(mini_batch):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.log(level, "said at %s", logging.getLevelName(level))
    return mini_batch
`,
  );
  scored(await (await bench.start({ settings: { loggingLevel } })).score(bench.files('a'), patience));
  const text = bench.printed.map((chunk) => chunk.text).join('');
  expect([...text.matchAll(/said at (\w+)/g)].map(([, level]) => level)).toEqual(wanted);
});
