/** The whole of it: a cluster, a plan, jobs until the minutes are over, and an account at the end. */
import { mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { endPrograms, signalIfAlive, until } from '../helpers/programs.ts';
import { playFaults, type Played } from './carry-out.ts';
import { ChaosCluster } from './chaos-cluster.ts';
import { playJob, type JobOutcome } from './chaos-job.ts';
import { planChaos, planJobs, type ChaosPlan, type Step } from './chaos-plan.ts';
import { leftovers } from './check-output.ts';
import { Defects } from './defects.ts';
import { prepareShapes } from './job-shapes.ts';
import { openSmallDisk, type SmallDisk } from './small-disk.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly minutes: number;
  /** Exists and is empty; the caller removes it. */
  readonly dir: string;
  readonly note: (line: string) => void;
  readonly signal: AbortSignal;
  /** Ends, not in order, with the first defect. */
  readonly stopsAtDefect?: boolean;
}

export interface ChaosAccount {
  readonly seed: number;
  readonly minutes: number;
  readonly jobs: number;
  readonly completed: number;
  readonly canceled: number;
  /** What was done to jobs on their way, by kind. */
  readonly steps: Readonly<Record<Step['kind'], number>>;
  readonly rows: number;
  /** Carried out, by kind. */
  readonly faults: Readonly<Record<string, number>>;
  readonly idleFaults: number;
  readonly killsAndFreezes: number;
  readonly coordinatorStarts: number;
  readonly coordinatorStartMsMax: number;
  readonly coordinatorMegabytesMax: number;
  readonly nodeStarts: number;
  readonly lost: number;
  readonly doubled: number;
  /** Jobs whose output is the one of the undisturbed run. */
  readonly digestsEqual: number;
  readonly disk: string;
  readonly load: readonly number[];
  readonly defects: readonly string[];
  /** After the start of the cluster; null when there is none. */
  readonly firstDefectMs: number | null;
  readonly logs: string;
}

const nodes = 4;
const heartbeatMs = 500;
/** As the coordinator reckons. */
const leaseMs = 6 * heartbeatMs;
const diskMegabytes = 256;
const atWorkMs = 60_000;
/** For hosts that notice that their node is gone. */
const strayMs = 15_000;

export async function runChaos(options: ChaosOptions): Promise<ChaosAccount> {
  const { seed, minutes, dir, note } = options;
  const logs = join(dir, 'logs');
  mkdirSync(logs);
  const plan = planChaos({ seed, minutes, nodes, leaseMs });
  writeFileSync(join(logs, 'plan.json'), JSON.stringify(plan, null, 1));
  const disk = openSmallDisk(join(dir, 'disk'), diskMegabytes);
  const outcomes: JobOutcome[] = [];
  let cluster: ChaosCluster | null = null;
  try {
    note(`seed ${seed}: ${plan.faults.length} faults in ${minutes} minutes; the plan is ${join(logs, 'plan.json')}`);
    note(`disk: ${disk.what}`);
    const shapes = await prepareShapes(dir, seed);
    const began = systemClock.monotonic();
    const defects = new Defects(note);
    const broken = options.stopsAtDefect ? defects.found : new AbortController().signal;
    const signal = AbortSignal.any([options.signal, broken]);
    cluster = await ChaosCluster.start({ dir, disk, nodes, heartbeatMs, logDir: logs, note, defects });
    const faults = playWhenAtWork(plan, cluster, disk, signal, note);
    // It is waited for below; what goes wrong before is told there.
    faults.catch(() => undefined);
    const jobs = planJobs(seed);
    const isOver = (): boolean => signal.aborted || systemClock.monotonic() - began > minutes * 60_000;
    while (!isOver()) {
      const jobPlan = jobs.next().value;
      const shape = shapes.get(jobPlan.shape);
      if (!shape) throw new Error(`no shape ${jobPlan.shape}`);
      const outputDir = join(disk.path, `out-${outcomes.length}`);
      const outcome = await playJob({ cluster, shape, plan: jobPlan, outputDir, logDir: logs, signal: broken });
      if (broken.aborted) break;
      outcomes.push(outcome);
      for (const defect of outcome.defects) defects.add(`${outcome.name}: ${defect}`);
      note(`${String(cluster.nowMs()).padStart(7)} ${describe(outcome)}`);
    }
    const played: Played = broken.aborted ? { counts: new Map(), idle: 0 } : await faults;
    const ranMinutes = (systemClock.monotonic() - began) / 60_000;
    const load = loadavg().map((value) => Math.round(value * 10) / 10);
    if (!broken.aborted) {
      await cluster.close();
      for (const left of [...scratchLeft(cluster), ...(await strays(dir))]) defects.add(left);
    }
    const starts = cluster.coordinatorLives;
    const startsMs = starts.map(({ startedAtMs, servedAtMs }) => (servedAtMs ?? startedAtMs) - startedAtMs);
    const account: ChaosAccount = {
      seed,
      minutes: Math.round(ranMinutes * 10) / 10,
      jobs: outcomes.length,
      completed: outcomes.filter(({ status }) => status === 'Completed').length,
      canceled: outcomes.filter(({ status }) => status === 'Canceled').length,
      steps: countSteps(outcomes),
      rows: sum(outcomes.map(({ rows }) => rows)),
      faults: Object.fromEntries([...played.counts].sort(([a], [b]) => (a < b ? -1 : 1))),
      idleFaults: played.idle,
      killsAndFreezes: sum([...played.counts].filter(([kind]) => /^(kill|freeze)/.test(kind)).map(([, n]) => n)),
      coordinatorStarts: starts.length,
      coordinatorStartMsMax: Math.max(...startsMs),
      coordinatorMegabytesMax: Math.max(...starts.map(({ peakMegabytes }) => peakMegabytes)),
      nodeStarts: cluster.nodeStarts,
      lost: sum(outcomes.map(({ lost }) => lost)),
      doubled: sum(outcomes.map(({ doubled }) => doubled)),
      digestsEqual: outcomes.filter(({ isEqual }) => isEqual).length,
      disk: disk.what,
      load,
      defects: defects.words,
      firstDefectMs: defects.firstMs,
      logs,
    };
    writeFileSync(join(logs, 'account.json'), JSON.stringify({ ...account, starts }, null, 1));
    return account;
  } finally {
    disk.free();
    cluster?.abandon();
    await endPrograms();
    disk.close();
  }
}

function countSteps(outcomes: readonly JobOutcome[]): ChaosAccount['steps'] {
  const done = outcomes.flatMap(({ steps }) => steps);
  const count = (kind: Step['kind']): number => done.filter((step) => step === kind).length;
  return { pause: count('pause'), cancel: count('cancel'), resume: count('resume'), retry: count('retry') };
}

function describe({ name, status, rows, steps, defects }: JobOutcome): string {
  const way = steps.length > 0 ? ` after ${steps.join(', ')}` : '';
  return `${name} ${status}${way}, ${rows} rows${defects.length > 0 ? `: ${defects.join('; ')}` : ', as undisturbed'}`;
}

/** Faults begin when they meet something: every node has a scoring host. */
async function playWhenAtWork(
  plan: ChaosPlan,
  cluster: ChaosCluster,
  disk: SmallDisk,
  signal: AbortSignal,
  note: (line: string) => void,
): Promise<Played> {
  await until(() => cluster.nodes.every(({ program }) => program.children().length > 0), 'scoring hosts', atWorkMs);
  return await playFaults(plan, cluster, disk, signal, note);
}

/** What nodes that ended in order have left of attempts: fetched inputs, spooled results, folders of hosts. */
function scratchLeft(cluster: ChaosCluster): readonly string[] {
  return cluster.nodes.flatMap(({ name }) => {
    const dir = join(cluster.processes.scratchDir(name), 'nodes', name);
    const left = leftovers(dir, (entry) => {
      const isSpooled = /\/spool$/.test(entry.parentPath);
      const isInput = /\/jobs\/[^/]+\/[^/]*\d+\.\d+$/.test(join(entry.parentPath, entry.name));
      return isSpooled || isInput;
    });
    return left.map((path) => `${name} has left ${path}`);
  });
}

/** Processes that still work below `dir`; they are ended. */
async function strays(dir: string): Promise<readonly string[]> {
  const deadline = systemClock.monotonic() + strayMs;
  for (;;) {
    const found = processesBelow(dir);
    if (found.length === 0) return [];
    if (systemClock.monotonic() > deadline) {
      const names = found.map((pid) => `process ${pid} is left: ${statusOf(pid)}`);
      for (const pid of found) signalIfAlive(pid, 'SIGKILL');
      return names;
    }
    await delay(200, new AbortController().signal);
  }
}

/** Every process of the cluster, hosts included, has its working directory there. */
function processesBelow(dir: string): readonly number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${dir}/`) || readlinkSync(`/proc/${pid}/cwd`) === dir;
    } catch {
      return false;
    }
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** What it is and does, for whoever wonders. */
function statusOf(pid: number): string {
  try {
    const state = /^State:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return `${state}, ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()}`;
  } catch {
    return 'gone by now';
  }
}
