/**
 * What a seed does to a cluster of real processes, and when: plain data, so that it can be printed and played again.
 * Whether a fault meets anything (a node that is away cannot be frozen) is known only when its time has come.
 */
import { Random } from '../sim/world.ts';

/** `up`: towards the coordinator. */
export type Direction = 'up' | 'down' | 'both';

/**
 * `hold`: bytes wait, as they do while packets are lost. `slow`: each piece is late. `swallow`: bytes vanish and the
 * connection never recovers. `half-open`: one side's connection ends, the other is not told. `refuse`: nobody answers new ones.
 */
export type LinkFault = 'hold' | 'slow' | 'swallow' | 'half-open' | 'cut' | 'reset' | 'refuse';

/**
 * When a kill of the coordinator comes: at once, or with the next thing that it does: it tells a node that a result is committed,
 * writes to an output or a staging segment, or to an output only, or drops a staging segment. What it says must be durable by then, what it writes is not.
 */
export type KillMoment = 'now' | 'acknowledges' | 'writes' | 'appends' | 'drops';

export type Deed =
  | { readonly kind: 'kill-node'; readonly node: number; readonly awayMs: number }
  | { readonly kind: 'freeze-node'; readonly node: number; readonly ms: number; readonly withHosts: boolean }
  | { readonly kind: 'leave-node'; readonly node: number; readonly awayMs: number }
  | { readonly kind: 'kill-host'; readonly node: number; readonly host: number }
  | { readonly kind: 'freeze-host'; readonly node: number; readonly host: number; readonly ms: number }
  /** `times`: so often in a row, each as soon as the one before is over and the moment has come again. */
  | { readonly kind: 'kill-coordinator'; readonly moment: KillMoment; readonly times: number }
  | { readonly kind: 'freeze-coordinator'; readonly ms: number }
  | {
      readonly kind: 'link';
      readonly node: number;
      readonly what: LinkFault;
      readonly direction: Direction;
      readonly ms: number;
    }
  | { readonly kind: 'fill-disk'; readonly ms: number };

export type DeedKind = Deed['kind'];

export type Fault = Deed & { readonly atMs: number };

/** What people do to a job, one after the other. `at`: when so large a share of its mini-batches is committed. */
export type Step =
  | { readonly kind: 'pause'; readonly at: number; readonly ms: number }
  /** `isAfterKill`: just when a coordinator is back that was killed as it wrote, with all nodes. */
  | { readonly kind: 'cancel'; readonly at: number; readonly graceMs: number; readonly isAfterKill: boolean }
  /** Of a job that was canceled, in mini-batches of another size. */
  | { readonly kind: 'resume'; readonly miniBatchFiles: number }
  /** Of the files that failed, once they are mended; with kills after one commit each. */
  | { readonly kind: 'retry'; readonly kills: readonly ('coordinator' | 'node')[] };

export const shapeNames = ['small', 'large', 'custom', 'python', 'poison'] as const;
export type ShapeName = (typeof shapeNames)[number];

export interface JobPlan {
  readonly shape: ShapeName;
  readonly steps: readonly Step[];
}

export interface ChaosPlan {
  readonly seed: number;
  readonly nodes: number;
  readonly leaseMs: number;
  readonly faults: readonly Fault[];
}

/** What the faults of one phase are like. */
const moods = ['mixed', 'restless', 'links', 'nodes', 'hosts', 'disk'] as const;
type Mood = (typeof moods)[number];

const phaseMs = 9_000;
/** Between two faults of a phase. */
const gapsMs: Readonly<Record<Mood, readonly [number, number]>> = {
  mixed: [500, 1_500],
  restless: [2_500, 4_000],
  links: [400, 1_200],
  nodes: [800, 1_800],
  hosts: [300, 900],
  disk: [1_000, 2_000],
};

export interface PlanOptions {
  readonly seed: number;
  readonly minutes: number;
  readonly nodes: number;
  readonly leaseMs: number;
}

/** Every mood has its turn before one comes again; faults are in order of time. */
export function planChaos({ seed, minutes, nodes, leaseMs }: PlanOptions): ChaosPlan {
  const random = new Random(seed);
  const endMs = minutes * 60_000;
  const faults: Fault[] = [];
  let waiting: Mood[] = [];
  for (let startMs = 0; startMs < endMs; startMs += phaseMs) {
    if (waiting.length === 0) waiting = shuffled(random, moods);
    const mood = waiting.pop() ?? 'mixed';
    const [least, most] = gapsMs[mood];
    const untilMs = Math.min(endMs, startMs + phaseMs);
    if (mood === 'disk') faults.push({ atMs: startMs + 500, kind: 'fill-disk', ms: random.between(2_000, 5_000) });
    for (let atMs = startMs + random.between(0, least); atMs < untilMs; atMs += random.between(least, most)) {
      faults.push({ atMs, ...deedOf(random, mood, nodes, leaseMs) });
    }
  }
  return { seed, nodes, leaseMs, faults: faults.sort((a, b) => a.atMs - b.atMs) };
}

/** The same for ever for a seed; which jobs there is time for depends on the machine. */
export function* planJobs(seed: number): Generator<JobPlan, never> {
  const random = new Random(seed ^ 0x1ab5);
  for (let index = 0; ; index += 1) {
    const { shape, steps } = courses[index % courses.length] as (typeof courses)[number];
    yield { shape, steps: steps.map((step) => stepOf(random, step)) };
  }
}

/** What the jobs are like in turn; `break`: canceled after a kill. */
const courses: readonly { readonly shape: ShapeName; readonly steps: readonly (Step['kind'] | 'break')[] }[] = [
  { shape: 'small', steps: [] },
  { shape: 'poison', steps: ['retry'] },
  { shape: 'large', steps: [] },
  { shape: 'small', steps: ['break'] },
  { shape: 'custom', steps: ['pause'] },
  { shape: 'poison', steps: ['retry', 'cancel', 'resume'] },
  { shape: 'python', steps: ['cancel', 'resume'] },
  { shape: 'large', steps: ['break', 'resume'] },
  { shape: 'custom', steps: [] },
  { shape: 'python', steps: ['cancel'] },
];

function stepOf(random: Random, kind: Step['kind'] | 'break'): Step {
  const at = random.between(10, 80) / 100;
  switch (kind) {
    case 'pause':
      return { kind, at, ms: random.between(500, 3_000) };
    case 'cancel':
      return { kind, at, graceMs: random.pick([0, 1_000]), isAfterKill: false };
    case 'break':
      return { kind: 'cancel', at, graceMs: 0, isAfterKill: true };
    case 'resume':
      return { kind, miniBatchFiles: random.between(1, 5) };
    case 'retry':
      return { kind, kills: shuffled(random, ['coordinator', 'coordinator', 'node']) };
  }
}

function deedOf(random: Random, mood: Mood, nodes: number, leaseMs: number): Deed {
  const node = random.between(0, nodes - 1);
  const awayMs = random.between(0, 1_500);
  /** As often longer than a lease as shorter. */
  const freezeMs = (): number =>
    random.chance(0.5) ? random.between(200, leaseMs / 2) : random.between(leaseMs + 500, 2 * leaseMs);
  const host = random.between(0, 3);
  const deeds: Readonly<Record<DeedKind, () => Deed>> = {
    'kill-node': () => ({ kind: 'kill-node', node, awayMs }),
    'freeze-node': () => ({ kind: 'freeze-node', node, ms: freezeMs(), withHosts: random.chance(0.7) }),
    'leave-node': () => ({ kind: 'leave-node', node, awayMs }),
    'kill-host': () => ({ kind: 'kill-host', node, host }),
    'freeze-host': () => ({ kind: 'freeze-host', node, host, ms: freezeMs() }),
    'kill-coordinator': () => killDeed(random),
    'freeze-coordinator': () => ({ kind: 'freeze-coordinator', ms: freezeMs() }),
    link: () => linkDeed(random, node, leaseMs),
    'fill-disk': () => ({ kind: 'fill-disk', ms: random.between(1_000, 3_000) }),
  };
  return deeds[random.pick(kindsOf[mood])]();
}

const killMoments: readonly KillMoment[] = [
  ...(['now', 'writes', 'writes', 'drops', 'acknowledges', 'acknowledges', 'acknowledges'] as const),
];

const kindsOf: Readonly<Record<Mood, readonly DeedKind[]>> = {
  mixed: [
    ...(['kill-node', 'freeze-node', 'kill-host', 'freeze-host', 'kill-coordinator', 'freeze-coordinator'] as const),
    ...(['leave-node', 'link', 'link'] as const),
  ],
  restless: ['kill-coordinator'],
  links: ['link', 'link', 'link', 'kill-host', 'freeze-host'],
  nodes: ['kill-node', 'kill-node', 'freeze-node', 'freeze-node', 'leave-node'],
  hosts: ['kill-host', 'freeze-host'],
  disk: ['kill-host', 'kill-node', 'freeze-coordinator', 'freeze-host', 'kill-coordinator'],
};

/** The tokens of one life are still held in the next when it was short. */
function killDeed(random: Random): Deed {
  const moment = random.pick(killMoments);
  return { kind: 'kill-coordinator', moment, times: moment === 'acknowledges' ? random.pick([1, 3, 3]) : 1 };
}

const linkFaults: readonly LinkFault[] = ['hold', 'slow', 'swallow', 'half-open', 'cut', 'reset', 'refuse'];

function linkDeed(random: Random, node: number, leaseMs: number): Deed {
  const ms = random.chance(0.7) ? random.between(200, 2_000) : random.between(leaseMs, 2 * leaseMs);
  const direction = random.pick<Direction>(['up', 'down', 'both']);
  return { kind: 'link', node, what: random.pick(linkFaults), direction, ms };
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: random.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
