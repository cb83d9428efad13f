/** A journal that is kept in a stream as well, and the coordinators that take turns on it, as plain data. */
import fc from 'fast-check';
import type { ChangeKind } from './change-count.ts';
import type { ClockPlan } from './sim-process.ts';
import type { StreamDirection } from './stream-servers.ts';

/** `who`: which coordinator, modulo their number; null: the one that leads. */
export type StreamFault = { readonly atMs: number } & (
  | {
      readonly kind: 'stream-partition';
      readonly who: number | null;
      readonly direction: 'both' | StreamDirection;
      readonly ms: number;
    }
  | { readonly kind: 'stream-stall'; readonly ms: number }
  /** Its servers choose another leader; the old one answers some clients for so long. */
  | { readonly kind: 'stream-leader'; readonly staleMs: number; readonly clients: number }
  /** Servers that answer before they sync lose what they took last. */
  | { readonly kind: 'lose-tail'; readonly messages: number }
  | { readonly kind: 'freeze-coordinator'; readonly who: number | null; readonly ms: number }
  /** The one that leads, as it is about to change something on a disk. */
  | { readonly kind: 'freeze-at-change'; readonly of: ChangeKind; readonly changes: number; readonly ms: number }
  /**
   * The one that leads, as it is about to write rows to the output; the nodes that had them die meanwhile, so that the next one gets
   * rows of other attempts for the same place before the write happens.
   */
  | { readonly kind: 'late-write'; readonly changes: number; readonly ms: number }
  | { readonly kind: 'kill-one'; readonly who: number; readonly downMs: number }
  /** Killed, and its disk is another one when it comes back. */
  | { readonly kind: 'lose-disk'; readonly who: number | null; readonly downMs: number }
);

export interface StreamPlan {
  /** Of which one leads and the others follow. */
  readonly coordinators: number;
  /** Servers that answer before they have synced. */
  readonly isLax: boolean;
  /** Of the second coordinator and the third. */
  readonly clocks: readonly ClockPlan[];
  readonly faults: readonly StreamFault[];
}

const atMs = fc.oneof(fc.integer({ min: 10, max: 8_000 }), fc.integer({ min: 10, max: 60_000 }));
const who = fc.constantFrom(null, null, 0, 1, 2);
const downMs = fc.constantFrom(10, 300, 2_000, 10_000, 40_000);

const fault: fc.Arbitrary<StreamFault> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      ...{ atMs, kind: fc.constant('stream-partition' as const), who },
      direction: fc.constantFrom('both' as const, 'to-servers' as const, 'to-coordinator' as const),
      ms: fc.constantFrom(300, 4_000, 12_000, 30_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ atMs, kind: fc.constant('stream-stall' as const) },
      ms: fc.constantFrom(500, 4_000, 12_000, 30_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ atMs, kind: fc.constant('stream-leader' as const), staleMs: fc.constantFrom(0, 500, 5_000) },
      clients: fc.nat(7),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...{ atMs, kind: fc.constant('freeze-coordinator' as const), who },
      ms: fc.constantFrom(1_000, 6_000, 15_000, 40_000),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...{ atMs, kind: fc.constant('freeze-at-change' as const) },
      of: fc.constantFrom('any' as const, 'names' as const, 'removals' as const),
      changes: fc.integer({ min: 1, max: 12 }),
      ms: fc.constantFrom(5_500, 8_000, 15_000, 40_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ atMs, kind: fc.constant('kill-one' as const), who: fc.nat(2), downMs }) },
  { weight: 2, arbitrary: fc.record({ atMs, kind: fc.constant('lose-disk' as const), who, downMs }) },
  {
    weight: 1,
    arbitrary: fc.record({
      ...{ atMs, kind: fc.constant('lose-tail' as const) },
      messages: fc.integer({ min: 1, max: 12 }),
    }),
  },
);

/** Where several coordinators take turns. */
export const lateWriteArbitrary: fc.Arbitrary<StreamFault> = fc.record({
  ...{ atMs: fc.integer({ min: 10, max: 8_000 }), kind: fc.constant('late-write' as const) },
  changes: fc.integer({ min: 1, max: 6 }),
  ms: fc.constantFrom(10_000, 15_000, 25_000),
});

const clock: fc.Arbitrary<ClockPlan> = fc.record({
  offsetMs: fc.integer({ min: 0, max: 1_000_000 }),
  rate: fc.constantFrom(1, 0.98, 1.02),
});

export const streamArbitrary: fc.Arbitrary<StreamPlan | null> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(null) },
  {
    weight: 1,
    arbitrary: fc.record({
      coordinators: fc.constantFrom(1, 2, 2, 2, 3),
      isLax: fc.constantFrom(false, false, false, false, false, true),
      clocks: fc.array(clock, { minLength: 2, maxLength: 2 }),
      faults: fc.array(fault, { maxLength: 6, size: 'max' }),
    }),
  },
);
