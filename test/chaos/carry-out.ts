/** Does to a cluster what the plan says, at its time, and counts what has met something. */
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { signalIfAlive, type Program } from '../helpers/programs.ts';
import type { ChaosCluster, ChaosNode } from './chaos-cluster.ts';
import type { ChaosPlan, Deed } from './chaos-plan.ts';
import type { SmallDisk } from './small-disk.ts';

export interface Played {
  /** Faults that were carried out, by kind; links with what was done to them, freezes with their length. */
  readonly counts: ReadonlyMap<string, number>;
  /** Faults that met nothing: a node that was away, a host that was not there, a disk that cannot be filled. */
  readonly idle: number;
}

/** Resolves when all faults are over and everything is thawed; `signal` ends it early, but in order. */
export async function playFaults(
  plan: ChaosPlan,
  cluster: ChaosCluster,
  disk: SmallDisk,
  signal: AbortSignal,
  note: (line: string) => void,
): Promise<Played> {
  const counts = new Map<string, number>();
  const began = systemClock.monotonic();
  const underWay: Promise<void>[] = [];
  let idle = 0;
  for (const fault of plan.faults) {
    await delay(Math.max(0, began + fault.atMs - systemClock.monotonic()), signal);
    if (signal.aborted) break;
    const { atMs, ...deed } = fault;
    const done = carryOut(deed, plan, cluster, disk);
    const told = done.then((isDone) => {
      if (!isDone) idle += 1;
      else counts.set(nameOf(deed, plan), (counts.get(nameOf(deed, plan)) ?? 0) + 1);
      note(`${String(atMs).padStart(7)} ${isDone ? '' : '(nothing there) '}${JSON.stringify(deed)}`);
    });
    // They are waited for together, below; what goes wrong is told there.
    told.catch(() => undefined);
    underWay.push(told);
  }
  await Promise.all(underWay);
  return { counts, idle };
}

function nameOf(deed: Deed, { leaseMs }: ChaosPlan): string {
  if (deed.kind === 'link') return `link ${deed.what}`;
  if (deed.kind === 'kill-coordinator' && deed.moment !== 'now') return `${deed.kind} as it ${deed.moment}`;
  if (deed.kind === 'freeze-node' || deed.kind === 'freeze-coordinator') {
    return `${deed.kind} ${deed.ms > leaseMs ? 'beyond' : 'within'} a lease`;
  }
  return deed.kind;
}

/** What was just killed is given so long to be there again. */
const patienceMs = 2_500;
/** The last result of a staging segment is copied now and then only. */
const dropMs = 12_000;
const lookMs = 50;

/** Resolves when it is over; false when there was nothing to be met for a while. */
async function carryOut(deed: Deed, plan: ChaosPlan, cluster: ChaosCluster, disk: SmallDisk): Promise<boolean> {
  const deadline = systemClock.monotonic() + patienceMs;
  for (;;) {
    if (await tryDeed(deed, plan, cluster, disk)) return true;
    if (systemClock.monotonic() > deadline) return false;
    await delay(lookMs, new AbortController().signal);
  }
}

/** The same at once. */
async function tryDeed(deed: Deed, plan: ChaosPlan, cluster: ChaosCluster, disk: SmallDisk): Promise<boolean> {
  const nodeOf = (index: number): ChaosNode => cluster.nodes[index % plan.nodes] as ChaosNode;
  switch (deed.kind) {
    case 'kill-coordinator':
      return await cluster.killCoordinator(deed.moment, deed.moment === 'drops' ? dropMs : patienceMs, deed.times);
    case 'freeze-coordinator': {
      if (cluster.isCoordinatorFrozen) return false;
      cluster.isCoordinatorFrozen = true;
      const isDone = await freeze(cluster.coordinator, [], deed.ms);
      cluster.isCoordinatorFrozen = false;
      return isDone;
    }
    case 'kill-node':
      return cluster.killNode(nodeOf(deed.node), deed.awayMs);
    case 'leave-node':
      return cluster.leaveNode(nodeOf(deed.node), deed.awayMs);
    case 'freeze-node': {
      const node = nodeOf(deed.node);
      if (node.isFrozen) return false;
      node.isFrozen = true;
      const isDone = await freeze(node.program, deed.withHosts ? node.program.children() : [], deed.ms);
      node.isFrozen = false;
      return isDone;
    }
    case 'kill-host': {
      const pid = hostOf(nodeOf(deed.node), deed.host);
      if (pid !== null) signalIfAlive(pid, 'SIGKILL');
      return pid !== null;
    }
    case 'freeze-host': {
      const pid = hostOf(nodeOf(deed.node), deed.host);
      if (pid === null) return false;
      signalIfAlive(pid, 'SIGSTOP');
      await delay(deed.ms, new AbortController().signal);
      signalIfAlive(pid, 'SIGCONT');
      return true;
    }
    case 'link':
      return await nodeOf(deed.node).proxy.trouble(deed.what, deed.direction, deed.ms);
    case 'fill-disk': {
      if (!disk.canFill || cluster.isDiskFull) return false;
      cluster.isDiskFull = true;
      disk.fill();
      await delay(deed.ms, new AbortController().signal);
      disk.free();
      cluster.isDiskFull = false;
      return true;
    }
  }
}

/** The process first: what its hosts still finish finds nobody who reads it. */
async function freeze(program: Program, hosts: readonly number[], ms: number): Promise<boolean> {
  if (program.end !== null) return false;
  program.signal('SIGSTOP');
  for (const pid of hosts) signalIfAlive(pid, 'SIGSTOP');
  await delay(ms, new AbortController().signal);
  for (const pid of hosts) signalIfAlive(pid, 'SIGCONT');
  program.signal('SIGCONT');
  return true;
}

/** Null when the node has none. */
function hostOf(node: ChaosNode, index: number): number | null {
  const hosts = node.program.end === null ? node.program.children() : [];
  return hosts[index % Math.max(1, hosts.length)] ?? null;
}
