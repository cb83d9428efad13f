/**
 * What order, journal and heartbeats cost: warm jobs of each workload with a coordinator that V8 looks into, its processor time shared
 * out by the part of the program that took it. One JSON line for each workload; percentages are of the processor seconds of all
 * processes of the job, with the interval that holds their mean 95 times of 100.
 *
 * `npm run bench -- rooms [WORKLOAD…]`; `ROOMS_ROUNDS` jobs of each, `BENCH_SCALE` and `BENCH_DIR` as for `peers`.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compiledFile } from '../common/io/package-files.ts';
import { Meter, type Cost } from './harness/meter.ts';
import { placeOf } from './harness/place.ts';
import { intervalOf, median } from './harness/statistics.ts';
import { dataWorkloads } from './workloads/data-workloads.ts';
import type { Workload } from './workloads/workload.ts';

/** By the first file of ours on the way up from what ran; what is of none of these is `rest`. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  journal: ['coordinator/journal/'],
  order: [
    'coordinator/output/',
    'coordinator/output-files.ts',
    'coordinator/result-store.ts',
    'coordinator/seal-job.ts',
  ],
  listing: ['coordinator/input/', 'coordinator/list-job.ts'],
};
const wanted = ['journal', 'order', 'heartbeats'];

const rounds = Number(process.env['ROOMS_ROUNDS'] ?? 15);
const place = placeOf(
  Number(process.env['BENCH_SCALE'] ?? 1),
  () => false,
  (text) => void process.stderr.write(`${text}\n`),
);
/** The whole program in one file in which every module is named. */
const program = compiledFile('bundles', 'cli', 'main.mjs');

interface Frame {
  readonly functionName: string;
  readonly url: string;
  /** From 0. */
  readonly lineNumber: number;
}

interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame; readonly children?: readonly number[] }[];
  /** Microseconds of the clock that `process.hrtime` reads. */
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

interface Job {
  readonly cost: Cost;
  /** Microseconds. */
  readonly from: number;
  readonly to: number;
}

const now = (): number => Number(process.hrtime.bigint() / 1_000n);

/** For each line of the program, from 0, the file that it is of. */
function filesOfLines(): readonly string[] {
  let file = '';
  return readFileSync(program, 'utf8')
    .split('\n')
    .map((line) => (file = /^\/\/ ([a-z_]+\/\S+)$/.exec(line)?.[1] ?? file));
}

/** Of each sample's place in the tree: the room, or null when nothing ran. */
function roomsOfNodes(profile: Profile, files: readonly string[]): ReadonlyMap<number, string | null> {
  const found = new Map<number, string | null>();
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const visit = (id: number, above: string, isHeartbeat: boolean): void => {
    const node = byId.get(id);
    if (node === undefined) return;
    const { functionName, url, lineNumber } = node.callFrame;
    const file = url.endsWith('/bundles/cli/main.mjs') ? (files[lineNumber] ?? '') : '';
    const own = file === '' || file.startsWith('node_modules/') ? above : roomOf(file);
    const isBeat = isHeartbeat || /heartbeat/i.test(functionName);
    found.set(id, functionName === '(idle)' ? null : isBeat ? 'heartbeats' : own);
    for (const child of node.children ?? []) visit(child, own, isBeat);
  };
  for (const { id, callFrame } of profile.nodes) if (callFrame.functionName === '(root)') visit(id, 'rest', false);
  return found;
}

function roomOf(file: string): string {
  return Object.entries(rooms).find(([, paths]) => paths.some((path) => file.startsWith(path)))?.[0] ?? 'rest';
}

/** Processor seconds by room, of each job. */
function secondsByRoom(profile: Profile, jobs: readonly Job[]): readonly Readonly<Record<string, number>>[] {
  const room = roomsOfNodes(profile, filesOfLines());
  const sums = jobs.map((): Record<string, number> => ({}));
  let at = profile.startTime;
  profile.samples.forEach((id, index) => {
    const delta = profile.timeDeltas[index] ?? 0;
    at += delta;
    const name = room.get(id) ?? null;
    const job = jobs.findIndex(({ from, to }) => from <= at && at < to);
    const sum = sums[job];
    if (name !== null && sum !== undefined) sum[name] = (sum[name] ?? 0) + delta / 1e6;
  });
  return sums;
}

async function jobsOf(workload: Workload, dir: string): Promise<readonly Job[]> {
  const warm = workload.contenders[0]?.warm;
  if (warm?.kind !== 'cluster') throw new Error(`${workload.name} has no cluster`);
  const labels = { coordinator: 'coordinator start', 'worker node': 'worker join' };
  const meter = new Meter({ log: join(dir, 'log.txt'), cwd: dir, labels });
  const env = { XDG_CONFIG_HOME: join(dir, 'config'), BATCHMILL_CONTEXT: 'local' };
  const node = (args: readonly string[], flags: readonly string[] = []): { argv: string[]; env: typeof env } => ({
    argv: [process.execPath, ...flags, program, ...args],
    env,
  });
  try {
    const look = ['--cpu-prof', '--cpu-prof-interval', '250', '--cpu-prof-dir', join(dir, 'profile')];
    const start = ['coordinator', 'start', '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0', '-o', 'json'];
    const says = '"join": "batchmill worker join ([^"]+)"';
    const [join_ = ''] = await meter.start(node([...start, '--state-dir', join(dir, 'state')], look), says);
    const words = ['worker', 'join', ...join_.split(' '), '--slots', String(place.processes)];
    await meter.start(node([...words, '--scratch-dir', join(dir, 'scratch')]), 'joined .* slots');
    const jobs: Job[] = [];
    // What stays up has had one job before it is looked at.
    for (let round = -1; round < rounds; round += 1) {
      const output = join(dir, `output-${round}`);
      const from = now();
      const cost = await meter.run(node([...warm.submit, '--output', output, '--wait']));
      if (round >= 0) jobs.push({ cost, from, to: now() });
    }
    return jobs;
  } finally {
    await meter.close();
  }
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(dataWorkloads);
for (const name of names) {
  const workload = await dataWorkloads[name]?.(place);
  if (workload === undefined)
    throw new Error(`no workload ${name}; there are ${Object.keys(dataWorkloads).join(', ')}`);
  const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-rooms-'));
  try {
    mkdirSync(join(dir, 'profile'));
    const jobs = await jobsOf(workload, dir);
    // Threads of its own write profiles too; the main thread's is the largest.
    const [profile = ''] = readdirSync(join(dir, 'profile'))
      .map((file) => readFileSync(join(dir, 'profile', file), 'utf8'))
      .sort((a, b) => b.length - a.length);
    const byRoom = secondsByRoom(JSON.parse(profile) as Profile, jobs);
    const ms = (pick: (room: Readonly<Record<string, number>>, job: Job) => number): number =>
      Math.round(1_000 * median(byRoom.map((room, index) => pick(room, jobs[index] as Job))));
    const main = (room: Readonly<Record<string, number>>): number => Object.values(room).reduce((a, b) => a + b, 0);
    const share = byRoom.map((room, index) => {
      const ours = wanted.reduce((sum, one) => sum + (room[one] ?? 0), 0);
      return (100 * ours) / (jobs[index] as Job).cost.cpuSeconds;
    });
    const all = [...Object.keys(rooms), 'heartbeats', 'rest'];
    const line = {
      ...{ bench: 'rooms', workload: name, rounds, count: workload.count, unit: workload.unit },
      cpuMs: ms((_, { cost }) => cost.cpuSeconds),
      mainThreadMs: Object.fromEntries(all.map((one) => [one, ms((room) => room[one] ?? 0)])),
      otherThreadsMs: ms((room, { cost }) => (cost.cpuByRole['coordinator'] ?? 0) - main(room)),
      orderJournalHeartbeatsPercent: intervalOf(share),
    };
    console.log(JSON.stringify(line));
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}
