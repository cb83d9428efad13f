/**
 * What a simulation plays, as plain data: an input with poison in it, a deployment, machines, what people do to the job,
 * and a schedule of faults. Made by fast-check from a seed, so that one that fails shrinks to what matters.
 */
import fc from 'fast-check';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { EarlierPlan } from './earlier.ts';
import { faultArbitrary, type Fault } from './faults.ts';
import { queueArbitrary, type QueuePlan } from './queue-plan.ts';
import type { FileFate } from './sim-input.ts';
import type { ClockPlan } from './sim-process.ts';
import { lateWriteArbitrary, streamArbitrary, type StreamFault, type StreamPlan } from './stream-plan.ts';

/** A file that is not like the others. */
export interface OddFile {
  /** Its ordinal, modulo the number of files. */
  readonly at: number;
  readonly fate: FileFate;
  /** Of its row; null: a few. */
  readonly bytes: number | null;
  /** Of what user code writes for it. */
  readonly customBytes: number;
}

export interface NodePlan {
  readonly slots: number;
  /** Least time of an attempt, and how much more it may take. */
  readonly scoreMs: readonly [number, number];
  /** What now and then an attempt takes instead; 0: never. */
  readonly slowMs: number;
  /** When it is started first. */
  readonly startsAtMs: number;
  readonly clock: ClockPlan;
  /** How every attempt on it ends, whatever the files; null: it is well. */
  readonly sickness: Sickness | null;
}

/** `wrong-count`: what it reports does not fit what it sends. */
export type Sickness = 'crash' | 'hang' | 'memory' | 'disk' | 'wrong-count';

export type JobSettings = Pick<
  DeploymentSettings,
  'miniBatchSize' | 'triesMax' | 'errorThreshold' | 'isolation' | 'instanceCountMax' | 'concurrencyPerInstanceMax'
>;

/** What somebody asks of the job while it runs. */
export interface Wish {
  readonly atMs: number;
  readonly what: 'pause' | 'resume' | 'cancel';
  /** Of a cancel. */
  readonly graceMs: number;
}

/** How the job goes on after it has ended, where it can. */
export interface LifePlan {
  /** Scope where there is a choice: all that failed, or the rest of what was broken off. */
  readonly prefersFailed: boolean;
  /** Of ten failed files, so many are mended. */
  readonly mended: number;
  readonly miniBatchSize: JobSettings['miniBatchSize'] | null;
  readonly wishes: readonly Wish[];
  /** The coordinator is killed so many changes of its disk after it was asked; null: not for that. */
  readonly crashAfter: number | null;
}

export interface JournalPlan {
  readonly segmentBytes: number;
  readonly groupBytesMax: number;
  readonly snapshotBytes: number;
}

export interface Plan {
  /** Of all that is left to chance: latencies, moods of scorers, what a crash leaves on a disk. */
  readonly seed: number;
  readonly files: number;
  readonly odd: readonly OddFile[];
  readonly settings: JobSettings;
  readonly stagingBytesMax: number;
  readonly journal: JournalPlan;
  readonly coordinatorClock: ClockPlan;
  readonly nodes: readonly NodePlan[];
  readonly faults: readonly Fault[];
  readonly wishes: readonly Wish[];
  readonly lives: readonly LifePlan[];
  readonly isPruned: boolean;
  /** Of the watchdog; null: what follows from tries and timeout, or an hour where something is slow on purpose. */
  readonly progressTimeoutMs: number | null;
  /** Longest time of an attempt. */
  readonly timeoutMs: number;
  /** Rows of a part of the output; null: the file of rows is the output. */
  readonly partRows: number | null;
  /** An output that rows are taken from; null: none. */
  readonly earlier: EarlierPlan | null;
  /** Other jobs; null: none. */
  readonly queue: QueuePlan | null;
  /** A second copy of the journal; null: the coordinator's disk has the only one. */
  readonly stream: StreamPlan | null;
  /** How long each life of a worker node lasts, as allocations do; null: as it comes. */
  readonly staysMs: number | null;
  /** A write of a leader that comes when another one leads; null: none is aimed at. New fields come last, so that a seed's others stay as they were. */
  readonly lateWrite: StreamFault | null;
}

/** Of a file that is like the others, as the listing gives it. */
export const fileBytes = 10;

/** Of each file: large ones give large rows, unless mini-batches are cut by bytes, whose bounds the plan must know. */
export function sizeOf({ files, odd, settings }: Plan): (file: number) => number {
  if (settings.miniBatchSize.kind === 'bytes' && settings.isolation === 'mini_batch') return () => fileBytes;
  const sizes = new Map(odd.flatMap(({ at, bytes }) => (bytes === null ? [] : [[at % files, bytes] as const])));
  return (file) => sizes.get(file) ?? fileBytes;
}

const clock: fc.Arbitrary<ClockPlan> = fc.record({
  offsetMs: fc.integer({ min: 0, max: 1_000_000 }),
  rate: fc.constantFrom(1, 1, 0.98, 0.995, 1.005, 1.02),
});

const fate = fc.constantFrom<FileFate>(
  ...(['error', 'crash', 'hang', 'late', 'memory', 'hungry'] as const),
  ...(['undecodable', 'unreadable', 'other-columns'] as const),
);
const sizes = fc.constantFrom(20, 600, 3_000, 5_000, 9_000);

const oddFile = fc.oneof(
  fc.record({ at: fc.nat(999), fate, bytes: fc.constant(null), customBytes: fc.constant(0) }),
  fc.record({ at: fc.nat(999), fate: fc.constant<FileFate>('fine'), bytes: sizes, customBytes: fc.constant(0) }),
  fc.record({ at: fc.nat(999), fate: fc.constant<FileFate>('fine'), bytes: fc.constant(null), customBytes: sizes }),
);

const miniBatchSize: fc.Arbitrary<JobSettings['miniBatchSize']> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('files' as const), files: fc.integer({ min: 1, max: 20 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('bytes' as const),
      bytes: fc.integer({ min: 1, max: 20 * fileBytes }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'auto' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('seconds' as const), seconds: fc.constantFrom(0.1, 1, 10) }),
  },
);

const rarely = <T>(value: fc.Arbitrary<T>, of: number): fc.Arbitrary<T | null> => fc.option(value, { freq: of });

const drawnSettings: fc.Arbitrary<JobSettings> = fc.record({
  miniBatchSize,
  triesMax: fc.integer({ min: 1, max: 3 }),
  errorThreshold: fc.constantFrom(-1, -1, -1, -1, -1, -1, 0, 3),
  isolation: fc.constantFrom('file', 'file', 'file', 'file', 'file', 'file', 'mini_batch'),
  instanceCountMax: fc.constantFrom(null, null, null, null, 1, 2),
  concurrencyPerInstanceMax: fc.constantFrom(null, null, null, null, 1),
});

/** Where the whole of a mini-batch is given up, a plan must know which files go together. */
const settings = drawnSettings.map((drawn): JobSettings => {
  const isLate = drawn.miniBatchSize.kind === 'auto' || drawn.miniBatchSize.kind === 'seconds';
  return isLate && drawn.isolation === 'mini_batch' ? { ...drawn, miniBatchSize: { kind: 'files', files: 8 } } : drawn;
});

const node: fc.Arbitrary<NodePlan> = fc.record({
  slots: fc.integer({ min: 1, max: 3 }),
  scoreMs: fc.tuple(fc.integer({ min: 1, max: 500 }), fc.constantFrom(0, 300, 4_000)),
  slowMs: fc.constantFrom(0, 0, 0, 0, 20_000, 45_000, 120_000),
  startsAtMs: fc.constantFrom(0, 100, 500, 2_000, 2_000, 20_000, 60_000),
  clock,
  sickness: fc.constant(null),
});

const wish: fc.Arbitrary<Wish> = fc.record({
  atMs: fc.integer({ min: 50, max: 40_000 }),
  what: fc.constantFrom('pause', 'pause', 'resume', 'cancel'),
  graceMs: fc.constantFrom(0, 500, 5_000, 120_000),
});
const wishes = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  { weight: 1, arbitrary: fc.array(wish, { minLength: 1, maxLength: 3 }) },
);

const life: fc.Arbitrary<LifePlan> = fc.record({
  prefersFailed: fc.constantFrom(false, false, true),
  mended: fc.constantFrom(0, 5, 10),
  miniBatchSize: rarely(miniBatchSize, 1),
  wishes,
  crashAfter: rarely(fc.integer({ min: 1, max: 12 }), 1),
});

/** Mostly small, so that there are many of them: what goes wrong goes wrong in small ones too. */
const files = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 2, arbitrary: fc.integer({ min: 40, max: 150 }) },
  { weight: 1, arbitrary: fc.integer({ min: 150, max: 400 }) },
);

const faults = fc.oneof(
  { weight: 1, arbitrary: fc.constant([]) },
  { weight: 6, arbitrary: fc.array(faultArbitrary, { minLength: 1, maxLength: 12, size: 'max' }) },
);

const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.noShrink(fc.nat(2 ** 31 - 1)),
  files,
  odd: fc.oneof(
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 3, arbitrary: fc.array(oddFile, { maxLength: 14, size: 'max' }) },
  ),
  settings,
  stagingBytesMax: fc.constantFrom(1_000_000_000, 1_000, 10_000, 100_000),
  journal: fc.record({
    segmentBytes: fc.constantFrom(4_096, 16_384, 65_536),
    groupBytesMax: fc.constantFrom(4_096, 16_384),
    snapshotBytes: fc.constantFrom(1_024, 1_024, 4_096, 65_536, 10_000_000),
  }),
  coordinatorClock: clock,
  nodes: fc.array(node, { minLength: 1, maxLength: 5, size: 'max' }),
  faults,
  wishes,
  lives: fc.oneof(
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 3, arbitrary: fc.array(life, { maxLength: 3 }) },
  ),
  isPruned: fc.constantFrom(false, false, false, false, true),
  progressTimeoutMs: fc.constant(null),
  timeoutMs: fc.constant(5_000),
  partRows: fc.oneof(
    { weight: 2, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 40 }) },
  ),
  earlier: fc.oneof(
    { weight: 2, arbitrary: fc.constant(null) },
    {
      weight: 1,
      arbitrary: fc.record({
        same: fc.constantFrom(1, 5, 9, 10, 10),
        gone: fc.constantFrom(0, 0, 1, 5),
        segmentFiles: fc.constantFrom(1, 2, 7, 20, 1_000),
        opaqueEvery: fc.constantFrom(0, 0, 1, 2),
      }),
    },
  ),
  queue: queueArbitrary,
  stream: streamArbitrary,
  staysMs: fc.oneof(
    { weight: 4, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.constantFrom(40_000, 90_000, 300_000) },
  ),
  lateWrite: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: lateWriteArbitrary }),
});

/** Without a preference for small values in the first plans, so that every seed has its own and shrinks from it. */
export const planArbitrary: fc.Arbitrary<Plan> = fc.noBias(plans);

/** The plan of a seed: the same with the same version of fast-check. */
export function planOf(seed: number): Plan {
  const plans: Plan[] = [];
  fc.check(
    fc.property(planArbitrary, (plan) => void plans.push(plan)),
    { seed, numRuns: 1 },
  );
  return plans[0] as Plan;
}
