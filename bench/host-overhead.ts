/**
 * What a Python scoring host adds to a mini-batch: `run()` returns a data frame of 10 rows, called in a bare loop of Python
 * and through a real host process, one round of the one after one round of the other. One JSON line; the difference of the
 * medians must stay below 2 ms.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invariant } from '../common/core/invariant.ts';
import { systemClock } from '../common/io/clock.ts';
import { packageFile } from '../common/io/package-files.ts';
import { hostCommand } from '../worker/pool/host-command.ts';
import { HostProcess } from '../worker/pool/host-process.ts';

const rounds = 6;
const calls = 500;
/** Of each round, not counted: the first calls fill caches on both sides. */
const warmUp = 50;
const overheadMsMax = 2;

const script = `import os
import pandas as pd

def init():
    pass

def run(mini_batch):
    return pd.DataFrame({
        "file": [os.path.basename(path) for path in mini_batch],
        "label": [len(path) % 10 for path in mini_batch],
        "score": [0.5 + 1 / (place + 3) for place in range(len(mini_batch))],
    })
`;
const loop = `import sys, time
sys.path.insert(0, sys.argv[1])
import batch_driver
paths = sys.argv[4:]
for count in (int(sys.argv[2]), int(sys.argv[3])):
    took = []
    for _ in range(count):
        started = time.perf_counter()
        batch_driver.run(list(paths))
        took.append((time.perf_counter() - started) * 1000)
print(" ".join(map(str, took)))
`;

const python = packageFile('.venv', 'bin', 'python');
const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
const codeDir = join(dir, 'code');
const files = Array.from({ length: 10 }, (_, i) => ({ path: join(dir, `image ${i}.png`), name: `image ${i}.png` }));

function bareRound(): number[] {
  const args = ['-c', loop, codeDir, String(warmUp), String(calls), ...files.map(({ path }) => path)];
  const done = spawnSync(python, args, { encoding: 'utf8' });
  invariant(done.status === 0, `the bare loop ended with ${done.status}: ${done.stderr}`);
  return done.stdout.split(' ').map(Number);
}

async function hostRound(): Promise<number[]> {
  const scorer = { kind: 'python', script: 'batch_driver.py' } as const;
  const environment = { node: { PATH: '/usr/bin:/bin' }, deployment: {}, modelDir: null, outputDir: null };
  const host = await HostProcess.start({
    ...hostCommand({ scorer, python, environment }),
    cwd: dir,
    spoolDir: join(dir, 'spool'),
    logSink: () => undefined,
    init: {
      scorer,
      settings: { outputFormat: 'azure', outputAction: 'append_row', loggingLevel: 'info' },
      modelDir: null,
      modelPath: null,
      codeDir,
      customDir: join(dir, 'custom'),
      logDir: join(dir, 'logs'),
      job: 'bench',
      node: 'node-1',
      process: 0,
    },
  });
  const took: number[] = [];
  for (let call = -warmUp; call < calls; call += 1) {
    const started = systemClock.monotonic();
    const outcome = await host.score(files, { first: 0, timeoutMs: 30_000 });
    if (call >= 0) took.push(systemClock.monotonic() - started);
    invariant(outcome.kind === 'scored' && outcome.summary.rows === files.length, 'each mini-batch must give 10 rows');
    await outcome.body.discard();
  }
  await host.stop();
  return took;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round((sorted[Math.floor(sorted.length * share)] ?? Number.NaN) * 1_000) / 1_000;
}

try {
  mkdirSync(codeDir);
  mkdirSync(join(dir, 'custom'));
  writeFileSync(join(codeDir, 'batch_driver.py'), script);
  const bare: number[] = [];
  const hosted: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    bare.push(...bareRound());
    hosted.push(...(await hostRound()));
  }
  const [bareMs, hostMs] = [quantile(bare, 0.5), quantile(hosted, 0.5)];
  const overheadMs = Math.round((hostMs - bareMs) * 1_000) / 1_000;
  const p95 = { bareP95Ms: quantile(bare, 0.95), hostP95Ms: quantile(hosted, 0.95) };
  console.log(
    JSON.stringify({ bench: 'host-overhead', miniBatches: hosted.length, bareMs, hostMs, overheadMs, ...p95 }),
  );
  if (overheadMs >= overheadMsMax) process.exitCode = 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
