/**
 * What the main threads of coordinator and worker node do in warm jobs of a workload, as V8's profiler tells: a flame graph of each,
 * `WORKLOAD-coordinator.svg` and `WORKLOAD-worker-node.svg`, in `bench/results` (`--results DIR`). One JSON line for each graph. Graphs of one
 * workload compare: frames stand in order of name.
 *
 * `npm run bench -- flame WORKLOAD…`; `FLAME_ROUNDS` jobs of each count, `BENCH_SCALE` and `BENCH_DIR` as for `peers`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageFile } from '../common/io/package-files.ts';
import { flameGraph } from './harness/flame-graph.ts';
import { flameTree } from './harness/flame-tree.ts';
import { placeOf } from './harness/place.ts';
import { profiledJobs } from './harness/profiled-jobs.ts';
import { dataWorkloads, type Workloads } from './workloads/data-workloads.ts';
import { large, nothing, tiny } from './workloads/files.ts';
import type { Workload } from './workloads/workload.ts';

const workloads: Workloads = { ...dataWorkloads, nothing, tiny, large };
/** What starts once, and what V8 compiles once it has seen enough of it, is over by then. */
const uncounted = 2;

const { values: flags, positionals: names } = parseArgs({
  allowPositionals: true,
  options: { results: { type: 'string' } },
});
const results = flags.results ?? packageFile('bench', 'results');
const rounds = Number(process.env['FLAME_ROUNDS'] ?? 5);
const place = placeOf(
  Number(process.env['BENCH_SCALE'] ?? 1),
  () => false,
  (text) => void process.stderr.write(`${text}\n`),
);

async function draw(name: string, workload: Workload, dir: string): Promise<void> {
  const roles = ['coordinator', 'worker node'] as const;
  const { jobs, profiles, files } = await profiledJobs(workload, {
    ...{ dir, slots: place.processes, roles, rounds, uncounted },
  });
  for (const [role, profile] of profiles) {
    const tree = flameTree(profile, files, jobs);
    const svg = flameGraph(tree, { workload: workload.title, role, jobs: jobs.length });
    const file = `${name}-${role.replaceAll(' ', '-')}.svg`;
    writeFileSync(join(results, file), svg);
    const seconds = jobs.reduce((sum, { cost }) => sum + (cost.cpuByRole[role] ?? 0), 0);
    const times = { mainThreadMs: Math.round(tree.us / 1_000), allThreadsMs: Math.round(1_000 * seconds) };
    const line = {
      bench: 'flame',
      workload: name,
      role,
      jobs: jobs.length,
      ...times,
      bytes: Buffer.byteLength(svg),
      file,
    };
    console.log(JSON.stringify(line));
  }
}

const unknown = names.filter((name) => !(name in workloads));
if (names.length === 0 || unknown.length > 0)
  throw new Error(
    `wanted one or more workloads, found ${unknown.join(', ') || 'none'}; there are ${Object.keys(workloads).join(', ')}`,
  );
mkdirSync(results, { recursive: true });
for (const name of names) {
  const workload = await workloads[name]?.(place);
  if (workload === undefined) continue;
  const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-flame-'));
  try {
    await draw(name, workload, dir);
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}
