/** Plans with one thing wrong, for what a random plan has too much noise for. */
import { planOf, type NodePlan, type Plan, type Sickness } from './plan.ts';

const well = { slots: 2, slowMs: 0, sickness: null } as const;
const evenClock = { offsetMs: 0, rate: 1 };

function nodeOf(given: Partial<NodePlan>): NodePlan {
  return { ...well, scoreMs: [200, 300], startsAtMs: 0, clock: evenClock, ...given };
}

/** Nothing happens to any node; only the coordinator stands still, again and again, for longer than a lease. */
export function stallPlan(seed: number): Plan {
  const plan = { ...planOf(seed), queue: null, stream: null, staysMs: null };
  const faults = [5_000, 50_000, 100_000].flatMap((atMs) => [
    { atMs, kind: 'cut', node: seed } as const,
    { atMs: atMs + 1_000 + (seed % 500), kind: 'stall-coordinator', ms: 40_000, deafMs: 3_000 } as const,
  ]);
  const nodes = plan.nodes.map((node) => ({ ...node, startsAtMs: 0 }));
  return { ...plan, nodes, faults, files: Math.max(100, plan.files), wishes: [], lives: [], isPruned: false };
}

/** One node fails whatever it gets, and comes when two others have begun; the coordinator may be killed meanwhile. */
export function sickPlan(seed: number, sickness: Sickness): Plan {
  const plan = { ...planOf(seed), queue: null, stream: null, staysMs: null };
  // With one try there is nothing to forgive: the first mini-batch that the node fails is given up.
  const settings = {
    ...plan.settings,
    triesMax: Math.max(2, plan.settings.triesMax),
    instanceCountMax: null,
    errorThreshold: -1,
  };
  const others = [0, 1].map(() => nodeOf({ scoreMs: [200, 2_000] }));
  const sick = nodeOf({ sickness, scoreMs: [1, 50], startsAtMs: 8_000 });
  const crash = { atMs: 9_000 + seed * 37, kind: 'kill-coordinator', downMs: 300 } as const;
  return {
    ...plan,
    ...{ settings, nodes: [...others, sick], files: Math.max(120, plan.files), odd: [] },
    faults: seed % 2 === 0 ? [crash] : [],
    ...{ wishes: [], lives: [], isPruned: false },
  };
}

export const hangs = { progressTimeoutMs: 60_000, timeoutMs: 3_600_000 } as const;

/** No file ever comes to its end. */
export function hangPlan(seed: number): Plan {
  const plan = { ...planOf(seed), queue: null, stream: null, staysMs: null };
  const files = 1 + (seed % 40);
  const odd = Array.from({ length: files }, (_, at) => ({ at, fate: 'hang' as const, bytes: null, customBytes: 0 }));
  const settings = { ...plan.settings, errorThreshold: -1, isolation: 'file' as const };
  const nodes = [nodeOf({}), nodeOf({ startsAtMs: 500 })];
  const faults =
    seed % 2 === 0 ? [{ atMs: 20_000, kind: 'fill-disk', ms: hangs.progressTimeoutMs + 20_000 } as const] : [];
  // Of the first file the rows would fix the columns: it hangs as well.
  return { ...plan, ...hangs, files, odd, settings, nodes, faults, wishes: [], lives: [], isPruned: false };
}

/** Each file takes nearly as long as the watchdog waits. */
export function slowPlan(seed: number): Plan {
  const plan = hangPlan(seed);
  const nodes = [0, 1].map(() =>
    nodeOf({ scoreMs: [hangs.progressTimeoutMs / 2, hangs.progressTimeoutMs / 2 - 5_000] }),
  );
  return { ...plan, files: Math.min(plan.files, 10), odd: [], nodes };
}

/**
 * A job that is broken off with results of files that failed, and whose retry a kill takes back before it is in the journal: then
 * somebody asks for the rest alone.
 */
export function lostRetryPlan(seed: number): Plan {
  const plan = { ...planOf(seed), queue: null, stream: null, staysMs: null };
  // Nothing else is staged, so that all of it would go with the retry.
  const odd = Array.from({ length: 20 }, (_, index) => ({
    ...{ at: 2 * index + 1, bytes: null, customBytes: 600, fate: 'undecodable' as const },
  }));
  const settings = {
    ...plan.settings,
    ...{ miniBatchSize: { kind: 'files', files: 2 } as const, isolation: 'file' as const, errorThreshold: -1 },
    ...{ instanceCountMax: null, concurrencyPerInstanceMax: null },
  };
  return {
    ...plan,
    ...{ files: 60, odd, settings, stagingBytesMax: 1_000_000, isPruned: false, faults: [] },
    nodes: [nodeOf({ scoreMs: [300, 600] }), nodeOf({ scoreMs: [300, 600] })],
    wishes: [{ atMs: 3_000, what: 'cancel', graceMs: 0 }],
    lives: [{ prefersFailed: true, mended: 0, miniBatchSize: null, wishes: [], crashAfter: 1 + (seed % 24) }],
  };
}

/**
 * A job that is paused, or canceled and resumed, about the time when its parts are made, while the coordinator is killed between any
 * two changes of its disk.
 */
export function partsPlan(seed: number): Plan {
  const plan = { ...planOf(seed), queue: null, stream: null, staysMs: null };
  const settings = {
    ...plan.settings,
    ...{ miniBatchSize: { kind: 'files', files: 2 } as const, isolation: 'file' as const, errorThreshold: -1 },
    ...{ instanceCountMax: null, concurrencyPerInstanceMax: null },
  };
  const atMs = 2_500 + ((seed * 137) % 4_000);
  const what = seed % 3 === 0 ? ('pause' as const) : ('cancel' as const);
  const crash = {
    ...{ atMs: atMs - 200, kind: 'kill-at-change' as const, of: 'any' as const, changes: 1 + (seed % 60) },
    ...{ isPower: seed % 2 === 0, downMs: 300 },
  };
  const full = { atMs: atMs - 100, kind: 'fill-disk' as const, ms: 3_000 };
  const life = { prefersFailed: false, mended: 10, miniBatchSize: null };
  return {
    ...plan,
    ...{ files: 40, settings, stagingBytesMax: 1_000_000, isPruned: false, partRows: 1 + (seed % 9) },
    odd: plan.odd.filter(({ fate }) => fate === 'fine' || fate === 'undecodable'),
    nodes: [nodeOf({ scoreMs: [200, 300] }), nodeOf({ scoreMs: [200, 300] })],
    faults: seed % 5 === 0 ? [full, crash] : [crash],
    wishes: [{ atMs, what, graceMs: 0 }],
    lives: [
      { ...life, wishes: [{ atMs: 300 + ((seed * 31) % 3_000), what, graceMs: 0 }], crashAfter: 1 + (seed % 30) },
      { ...life, wishes: [], crashAfter: null },
    ],
  };
}
