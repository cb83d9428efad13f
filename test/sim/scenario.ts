/** One simulated job from a seed: a cluster, an input with poison in it, a schedule of faults, and the verdict. */
import { judge } from './judge.ts';
import { SimCoordinator, type Mutation } from './sim-coordinator.ts';
import { mendable, playLives } from './sim-lives.ts';
import { SimNode, type SimInput } from './sim-node.ts';
import { expectedOf, planOf, type SimPlan } from './sim-plan.ts';
import { World } from './world.ts';

export interface Outcome {
  readonly seed: number;
  /** What is wrong, empty when nothing is. */
  readonly faults: readonly string[];
  readonly trace: readonly string[];
  readonly virtualMs: number;
  readonly files: number;
  readonly state: string;
  readonly quarantined: number;
  readonly starts: number;
  readonly messages: number;
  readonly nodesLost: number;
  /** Taken, loaded by a start, and passed over because of damage. */
  readonly snapshots: { readonly taken: number; readonly loaded: number; readonly fellBack: number };
  /** Second attempts at stragglers, and leases that were asked back. */
  readonly twins: number;
  readonly recalls: number;
  readonly heldBack: number;
  readonly quarantines: number;
}

const virtualMsMax = 6 * 3_600_000;
/** By then the last fault is over, and what it left behind is cleared away. */
const quietAtMs = 400_000;

/** A game with more crashes: of the coordinator, around the moments in which it takes a snapshot of its journal. */
export function runSnapshotKills(seed: number, mutation: Mutation = {}): Outcome {
  let kills = 12;
  return runScenario(seed, mutation, (world, coordinator) => {
    coordinator.snapshots.onBegin = () => {
      if ((kills -= 1) < 0) return;
      world.after(world.random.between(0, 12), () => {
        coordinator.kill();
        world.after(world.random.between(10, 1_000), () => coordinator.isUp || coordinator.start());
      });
    };
  });
}

export function runScenario(
  seed: number,
  mutation: Mutation = {},
  prepare: (world: World, coordinator: SimCoordinator) => void = () => undefined,
): Outcome {
  const world = new World(seed);
  const { random } = world;
  const plan = planOf(seed);
  const coordinator = new SimCoordinator(world, plan, mutation);
  const input = mendable(plan.input);
  const nodes = simNodes(world, coordinator, { ...plan, input });
  prepare(world, coordinator);
  coordinator.start();
  for (const node of nodes) world.after(random.between(0, 2_000), () => node.start());
  scheduleFaults(world, coordinator, nodes);
  const isCanceled = random.chance(0.1);
  if (isCanceled) world.after(random.between(100, 30_000), () => coordinator.cancel());
  const lives = playLives(seed, world, coordinator, input);
  const faults: string[] = [];
  let times = 0;
  for (;;) {
    const ended = world.run(world.now + virtualMsMax, () => hasEnded(coordinator, times));
    if (!ended) {
      faults.push(`${world.livelock ?? 'the job has not ended'}: ${describe(coordinator)}`);
      break;
    }
    coordinator.checkReplay();
    const { deployment = plan.deployment } = coordinator.job ?? {};
    // Its mini-batches keep the bounds of the first cut where the whole of one is given up.
    const expected = expectedOf({ ...plan, input, deployment });
    faults.push(
      ...judge({
        coordinator,
        expected,
        customBytes: input.customBytes,
        isCanceled: hasBeenCanceled(coordinator) || isCanceled,
      }),
    );
    const next = faults.length === 0 ? lives.next() : null;
    if (!next) break;
    times += 1;
    coordinator.reopen(times, next.scope, next.settings);
  }
  const { now: virtualMs } = world;
  const { job } = coordinator;
  faults.push(...[...coordinator.faults, ...coordinator.snapshots.faults].filter((fault) => !faults.includes(fault)));
  if (faults.length === 0) faults.push(...judgeSilence(world, coordinator, nodes));
  if (faults.length === 0 && lives.isPruned) faults.push(...judgePrune(world, coordinator));
  return {
    seed,
    faults,
    trace: world.trace,
    virtualMs,
    files: plan.files,
    state: job?.state ?? 'gone',
    quarantined: job?.failedFiles ?? 0,
    starts: coordinator.starts,
    messages: nodes.reduce((sum, node) => sum + node.sent, 0),
    nodesLost: coordinator.counts.get('NodeLost') ?? 0,
    snapshots: snapshotCounts(coordinator),
    twins: coordinator.twins,
    heldBack: coordinator.heldBack,
    recalls: coordinator.counts.get('LeaseRecalled') ?? 0,
    quarantines: coordinator.counts.get('NodeQuarantined') ?? 0,
  };
}

/** In its `times`th life after the first, and nothing of it is only in memory. */
function hasEnded({ job, disk }: SimCoordinator, times: number): boolean {
  if (!job?.isSealed || job.reopenings !== times) return false;
  return disk.journal.filter(({ kind }) => kind === 'JobReopened').length === times;
}

function hasBeenCanceled({ job }: SimCoordinator): boolean {
  return job?.state === 'Canceled';
}

/** Forgotten by the process, and by one that replays its journal. */
function judgePrune(world: World, coordinator: SimCoordinator): readonly string[] {
  coordinator.prune();
  const isGone = world.run(world.now + quietAtMs, () => coordinator.isUp && !coordinator.job && coordinator.isSynced);
  if (!isGone) return ['the job is not forgotten'];
  coordinator.kill();
  coordinator.start();
  return coordinator.job ? ['a pruned job came back'] : coordinator.faults;
}

function snapshotCounts({ snapshots: { taken, loaded, fellBack } }: SimCoordinator): Outcome['snapshots'] {
  return { taken, loaded, fellBack };
}

function simNodes(
  world: World,
  coordinator: SimCoordinator,
  { input, slowMs }: Pick<SimPlan, 'input' | 'slowMs'>,
  scoreMs?: readonly [number, number],
): readonly SimNode[] {
  const { random } = world;
  const nodes = Array.from({ length: random.between(1, 5) }, (_, index) => {
    const fastest = random.between(1, 500);
    const chosen = [fastest, fastest + random.between(0, 4_000)] as const;
    return new SimNode({
      ...{ world, coordinator, input, scoreMs: scoreMs ?? chosen },
      name: `node-${index}`,
      slots: random.between(1, 3),
      slowMs: index === 0 ? slowMs : 0,
      sickness: null,
    });
  });
  coordinator.watch(nodes);
  return nodes;
}

/** Faults come for a while and then end, so that every job can finish. */
function scheduleFaults(world: World, coordinator: SimCoordinator, nodes: readonly SimNode[]): void {
  const { random } = world;
  const count = random.between(0, 12);
  // A mini-batch whose nodes vanish too often is taken for one that crashes them, and rightly so.
  let losses = 3;
  for (let index = 0; index < count; index += 1) {
    world.after(random.between(500, 120_000), () => {
      const node = random.pick(nodes);
      const fault = random.between(0, 8);
      if ((fault === 2 || fault === 3) && (losses -= 1) < 0) return;
      switch (fault) {
        case 0:
          return coordinator.killAtRecord(random.between(1, 60));
        case 1:
          return coordinator.stall(random.pick([500, 5_000, 40_000]), random.pick([0, 3_000]));
        case 2: {
          if (!node.isUp) return;
          node.kill();
          world.after(random.between(100, 60_000), () => !node.isUp && node.start());
          return;
        }
        case 3:
          return node.freeze(random.pick([1_000, 20_000, 90_000]));
        case 4:
          return node.drain();
        case 5:
          return coordinator.fillDisk(random.between(10, 20_000));
        case 6: {
          if (!coordinator.isUp) return;
          coordinator.kill();
          world.after(random.between(10, 20_000), () => coordinator.start());
          return;
        }
        default:
          return node.cutLink();
      }
    });
  }
}

/** When the faults have ended too, nobody holds anything of the job any more. */
function judgeSilence(world: World, coordinator: SimCoordinator, nodes: readonly SimNode[]): readonly string[] {
  const until = Math.max(quietAtMs, world.now + quietAtMs / 4);
  world.run(until, () => false);
  if (world.livelock !== null) return [world.livelock];
  const faults = nodes
    .filter((node) => node.held > 0)
    .map((node) => `${node.name} holds ${node.held} leases at the end`);
  const leases = coordinator.ledger?.leases.size ?? 0;
  if (leases > 0) faults.push(`${leases} leases are left in the ledger`);
  if (!nodes.every((node) => node.isUp)) faults.push('a node has not come back');
  return faults;
}

function describe(coordinator: SimCoordinator): string {
  const { job } = coordinator;
  if (!job) return 'no coordinator';
  return `${job.state}, ${job.committed} of ${job.total} committed, ${job.leased} leased, ${job.waiting.size} waiting, cursor ${job.cursor} ${job.cursor >= 0 ? job.batches.state(job.cursor) : ''}`;
}

export interface StallOutcome {
  readonly nodesLost: number;
  readonly state: string;
  readonly stalls: number;
}

/**
 * Nothing is wrong with any node: only the coordinator stands still for longer than a lease, now and then just when a
 * connection has broken and its node wants to come back.
 */
export function runStalls(seed: number, mutation: Mutation = {}): StallOutcome {
  const world = new World(seed);
  const { random } = world;
  const plan = planOf(seed);
  const coordinator = new SimCoordinator(world, plan, mutation);
  const nodes = simNodes(world, coordinator, plan);
  coordinator.start();
  for (const node of nodes) world.after(random.between(0, 500), () => node.start());
  let stalls = 0;
  for (let at = 3_000; at < 400_000; at += 70_000) {
    const node = random.pick(nodes);
    world.after(at, () => node.cutLink());
    world.after(at + 2_000 + random.between(1, 500), () => {
      if (coordinator.job?.isSealed) return;
      stalls += 1;
      coordinator.stall(40_000, 3_000);
    });
  }
  world.run(virtualMsMax, () => coordinator.job?.isSealed === true);
  return { nodesLost: coordinator.counts.get('NodeLost') ?? 0, state: coordinator.job?.state ?? 'gone', stalls };
}

export interface SickOutcome {
  readonly faults: readonly string[];
  readonly quarantines: number;
  readonly failedTries: number;
}

/**
 * One node fails whatever it gets, two are well: whoever crashes the coordinator meanwhile, no good file is given up, and
 * the sick node is found.
 */
export function runSick(seed: number): SickOutcome {
  const world = new World(seed);
  const { random } = world;
  const plan = planOf(seed);
  const { settings } = plan.deployment;
  // With one try there is nothing to forgive: the first mini-batch that the node fails is given up.
  const triesMax = Math.max(2, settings.triesMax);
  const deployment = { ...plan.deployment, settings: { ...settings, triesMax, instanceCountMax: null } };
  const sick = { ...plan, deployment };
  const coordinator = new SimCoordinator(world, sick);
  const sickness = random.pick(['crash', 'hang', 'memory', 'disk'] as const);
  const nodes = [0, 1, 2].map(
    (index) =>
      new SimNode({
        ...{ world, coordinator, input: plan.input, slots: 2, slowMs: 0 },
        name: `node-${index}`,
        scoreMs: index === 0 ? [1, 50] : [200, 2_000],
        sickness: index === 0 ? sickness : null,
      }),
  );
  coordinator.watch(nodes.slice(1));
  coordinator.start();
  const [first, ...well] = nodes as [SimNode, ...SimNode[]];
  for (const node of well) world.after(random.between(0, 500), () => node.start());
  // As long as nobody has scored anything, nobody can tell whose fault a failure is.
  const startLast = (): void => {
    if ((coordinator.job?.nodeNames.length ?? 0) >= 2) first.start();
    else world.after(200, startLast);
  };
  startLast();
  if (random.chance(0.5))
    world.after(random.between(1_000, 20_000), () => coordinator.killAtRecord(random.between(1, 60)));
  const ended = world.run(virtualMsMax, () => coordinator.job?.isSealed === true);
  coordinator.checkReplay();
  const expected = expectedOf(sick);
  const { customBytes } = plan.input;
  return {
    faults: ended
      ? judge({ coordinator, expected, customBytes, isCanceled: false })
      : [...coordinator.faults, `the job has not ended: ${describe(coordinator)}`],
    quarantines: coordinator.counts.get('NodeQuarantined') ?? 0,
    failedTries: coordinator.job?.failedTries ?? 0,
  };
}

export interface HangOutcome {
  readonly state: string;
  readonly code: string | null;
  readonly message: string;
  /** When the job ended. */
  readonly virtualMs: number;
  /** For how long its grants were paused. */
  readonly pausedMs: number;
  /** Leases that anybody still holds when all is over. */
  readonly held: number;
  readonly trace: readonly string[];
}

export const hangs = { progressTimeoutMs: 60_000, timeoutMs: 3_600_000 } as const;

/**
 * No file ever comes to its end (`hang`), or each takes nearly as long as the watchdog waits (`slow`), and `timeout` is far
 * off. On the way the disk is full for longer than the watchdog waits, and a node that has begun its work vanishes.
 */
export function runHangs(seed: number, kind: 'hang' | 'slow'): HangOutcome {
  const world = new World(seed);
  const { random } = world;
  const planned = planOf(seed);
  const { fateOf } = planned.input;
  const files = Math.min(planned.files, 40);
  const settings = { ...planned.deployment.settings, ...hangs, errorThreshold: -1 };
  const input: SimInput = {
    ...planned.input,
    fateOf: (file) => (kind === 'hang' ? 'hang' : fateOf(file) === 'other-columns' ? 'other-columns' : 'fine'),
  };
  const plan = { ...planned, files, input, slowMs: 0, deployment: { ...planned.deployment, settings } };
  const coordinator = new SimCoordinator(world, plan);
  const scoreMs = [hangs.progressTimeoutMs / 2, hangs.progressTimeoutMs - 5_000] as const;
  const nodes = simNodes(world, coordinator, plan, scoreMs);
  coordinator.start();
  for (const node of nodes) world.after(random.between(0, 500), () => node.start());
  const pausedMs = random.chance(0.5) ? hangs.progressTimeoutMs + random.between(1_000, 60_000) : 0;
  if (pausedMs > 0) world.after(random.between(5_000, 30_000), () => coordinator.fillDisk(pausedMs));
  const lost = nodes[1];
  if (lost) world.after(random.between(2_000, 50_000), () => lost.kill());
  world.run(virtualMsMax, () => coordinator.job?.isSealed === true);
  const { now: virtualMs } = world;
  const { job } = coordinator;
  const [state, code, message] = [job?.state ?? 'gone', job?.error?.code ?? null, job?.error?.message ?? ''];
  world.run(virtualMs + quietAtMs, () => false);
  const held = nodes.reduce((sum, node) => sum + node.held, coordinator.ledger?.leases.size ?? 0);
  return { state, code, message, virtualMs, pausedMs, held, trace: world.trace };
}
