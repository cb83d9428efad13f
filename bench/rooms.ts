/**
 * What order, journal and heartbeats cost: warm jobs of each workload with a coordinator that V8 looks into, its processor time shared
 * out by the part of the program that took it. One JSON line for each workload; percentages are of the processor seconds of all
 * processes of the job, with the interval that holds their mean 95 times of 100.
 *
 * `npm run bench -- rooms [WORKLOAD…]`; `ROOMS_ROUNDS` jobs of each, `BENCH_SCALE` and `BENCH_DIR` as for `peers`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invariant } from '../common/core/invariant.ts';
import { placeOf } from './harness/place.ts';
import { isOwn, rootOf, sourceOf, timesOf, type Profile } from './harness/profile.ts';
import { profiledJobs, type ProfiledJobs } from './harness/profiled-jobs.ts';
import { programParts } from './harness/program-parts.ts';
import { intervalOf, median } from './harness/statistics.ts';
import { dataWorkloads } from './workloads/data-workloads.ts';

/** By the first file of ours on the way up from what ran; what is of none of these is `rest`. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  journal: programParts.journal,
  order: programParts.output,
  listing: programParts.listing,
};
const wanted = ['journal', 'order', 'heartbeats'];

const rounds = Number(process.env['ROOMS_ROUNDS'] ?? 15);
const place = placeOf(
  Number(process.env['BENCH_SCALE'] ?? 1),
  () => false,
  (text) => void process.stderr.write(`${text}\n`),
);
type Job = ProfiledJobs['jobs'][number];

/** Of each sample's place in the tree: the room, or null when nothing ran. */
function roomsOfNodes(profile: Profile, files: readonly string[]): ReadonlyMap<number, string | null> {
  const found = new Map<number, string | null>();
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const visit = (id: number, above: string, isHeartbeat: boolean): void => {
    const node = byId.get(id);
    if (node === undefined) return;
    const { functionName } = node.callFrame;
    const source = sourceOf(node.callFrame, files);
    const own = isOwn(source) ? roomOf(source) : above;
    const isBeat = isHeartbeat || /heartbeat/i.test(functionName);
    found.set(id, functionName === '(idle)' ? null : isBeat ? 'heartbeats' : own);
    for (const child of node.children ?? []) visit(child, own, isBeat);
  };
  const root = rootOf(profile);
  if (root !== undefined) visit(root.id, 'rest', false);
  return found;
}

function roomOf(file: string): string {
  return Object.entries(rooms).find(([, paths]) => paths.some((path) => file.startsWith(path)))?.[0] ?? 'rest';
}

/** Processor seconds by room, of each job. */
function secondsByRoom(profile: Profile, { jobs, files }: ProfiledJobs): readonly Readonly<Record<string, number>>[] {
  const room = roomsOfNodes(profile, files);
  return timesOf(profile, jobs).map((times) => {
    const sum: Record<string, number> = {};
    for (const [id, us] of times) {
      const name = room.get(id) ?? null;
      if (name !== null) sum[name] = (sum[name] ?? 0) + us / 1e6;
    }
    return sum;
  });
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(dataWorkloads);
for (const name of names) {
  const workload = await dataWorkloads[name]?.(place);
  if (workload === undefined)
    throw new Error(`no workload ${name}; there are ${Object.keys(dataWorkloads).join(', ')}`);
  const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-rooms-'));
  try {
    // What stays up has had one job before it is looked at.
    const options = { dir, slots: place.processes, roles: ['coordinator'], rounds, uncounted: 1 } as const;
    const profiled = await profiledJobs(workload, options);
    const { jobs, profiles } = profiled;
    const profile = profiles.get('coordinator');
    invariant(profile !== undefined, 'the coordinator was looked into');
    const byRoom = secondsByRoom(profile, profiled);
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
