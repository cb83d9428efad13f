/** Faults of a plan, as plain data, and how each is done to a cluster. */
import fc from 'fast-check';
import type { NodeName } from '../../common/core/ids.ts';
import type { ChangeKind } from './change-count.ts';
import type { Cluster } from './cluster.ts';
import { happenToStream } from './stream-faults.ts';
import type { StreamFault } from './stream-plan.ts';

/** `node`: which one, modulo their number. */
export type Fault =
  | StreamFault
  | ({ readonly atMs: number } & (
      | { readonly kind: 'kill-coordinator'; readonly downMs: number }
      | { readonly kind: 'power-cut'; readonly downMs: number }
      /** Killed at a certain change of its disk from then on, so that it falls between any two of them. */
      | {
          readonly kind: 'kill-at-change';
          /** Which changes are counted. */
          readonly of: ChangeKind;
          readonly changes: number;
          readonly isPower: boolean;
          readonly downMs: number;
        }
      | { readonly kind: 'restart-coordinator'; readonly downMs: number }
      | { readonly kind: 'stall-coordinator'; readonly ms: number; readonly deafMs: number }
      | { readonly kind: 'fill-disk'; readonly ms: number }
      | { readonly kind: 'sync-error' }
      /** Of the newest one, while an older one stands beside it; once in a plan. */
      | { readonly kind: 'flip-snapshot' }
      | { readonly kind: 'clock-jump'; readonly ms: number }
      | { readonly kind: 'kill-node'; readonly node: number; readonly isHost: boolean; readonly downMs: number }
      | { readonly kind: 'freeze-node'; readonly node: number; readonly ms: number }
      | { readonly kind: 'drain-node'; readonly node: number }
      | { readonly kind: 'join-node'; readonly node: number }
      | { readonly kind: 'cut'; readonly node: number }
      | { readonly kind: 'near-miss'; readonly node: number }
      | {
          readonly kind: 'partition';
          readonly node: number;
          readonly direction: 'both' | 'to-coordinator' | 'to-node';
          readonly ms: number;
        }
      | { readonly kind: 'half-open'; readonly node: number; readonly side: 'node' | 'coordinator' }
      | { readonly kind: 'slow'; readonly node: number; readonly ms: number; readonly extraMs: number }
      | { readonly kind: 'refuse'; readonly node: number; readonly ms: number }
    ));

export type FaultKind = Fault['kind'];

/** By then the last fault has begun. */
export const faultsEndMs = 60_000;

const atMs = fc.oneof(fc.integer({ min: 10, max: 8_000 }), fc.integer({ min: 10, max: faultsEndMs }));
const node = fc.nat(9);
const downMs = fc.constantFrom(10, 300, 2_000, 10_000, 40_000);

const kinds: readonly (readonly [number, fc.Arbitrary<Fault>])[] = [
  [2, fc.record({ atMs, kind: fc.constant('kill-coordinator' as const), downMs })],
  [2, fc.record({ atMs, kind: fc.constant('power-cut' as const), downMs })],
  [
    4,
    fc.record({
      ...{
        atMs,
        kind: fc.constant('kill-at-change' as const),
        of: fc.constant('any' as const),
        isPower: fc.boolean(),
        downMs,
      },
      changes: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 400 })),
    }),
  ],
  [
    2,
    fc.record({
      ...{
        atMs,
        kind: fc.constant('kill-at-change' as const),
        of: fc.constantFrom('names' as const, 'removals' as const),
        isPower: fc.boolean(),
        downMs,
      },
      changes: fc.integer({ min: 1, max: 12 }),
    }),
  ],
  [1, fc.record({ atMs, kind: fc.constant('restart-coordinator' as const), downMs })],
  [
    2,
    fc.record({
      ...{ atMs, kind: fc.constant('stall-coordinator' as const) },
      ms: fc.constantFrom(500, 5_000, 40_000),
      deafMs: fc.constantFrom(0, 3_000),
    }),
  ],
  [1, fc.record({ atMs, kind: fc.constant('fill-disk' as const), ms: fc.constantFrom(50, 2_000, 20_000) })],
  [1, fc.record({ atMs, kind: fc.constant('sync-error' as const) })],
  [1, fc.record({ atMs, kind: fc.constant('flip-snapshot' as const) })],
  [
    1,
    fc.record({
      atMs,
      kind: fc.constant('clock-jump' as const),
      ms: fc.constantFrom(-3_600_000, -5_000, 5_000, 86_400_000),
    }),
  ],
  [3, fc.record({ atMs, kind: fc.constant('kill-node' as const), node, isHost: fc.boolean(), downMs })],
  [2, fc.record({ atMs, kind: fc.constant('freeze-node' as const), node, ms: fc.constantFrom(1_000, 20_000, 60_000) })],
  [1, fc.record({ atMs, kind: fc.constant('drain-node' as const), node })],
  [1, fc.record({ atMs, kind: fc.constant('join-node' as const), node })],
  [2, fc.record({ atMs, kind: fc.constant('cut' as const), node })],
  [3, fc.record({ atMs, kind: fc.constant('near-miss' as const), node })],
  [
    3,
    fc.record({
      ...{ atMs, kind: fc.constant('partition' as const), node },
      direction: fc.constantFrom('both' as const, 'to-coordinator' as const, 'to-node' as const),
      ms: fc.constantFrom(1_000, 8_000, 25_000, 60_000),
    }),
  ],
  [
    2,
    fc.record({
      atMs,
      kind: fc.constant('half-open' as const),
      node,
      side: fc.constantFrom('node' as const, 'coordinator' as const),
    }),
  ],
  [
    1,
    fc.record({
      ...{ atMs, kind: fc.constant('slow' as const), node },
      ms: fc.constantFrom(5_000, 60_000),
      extraMs: fc.constantFrom(200, 4_000, 6_500),
    }),
  ],
  [1, fc.record({ atMs, kind: fc.constant('refuse' as const), node, ms: fc.constantFrom(1_000, 30_000) })],
];

export const faultArbitrary: fc.Arbitrary<Fault> = fc.oneof(
  ...kinds.map(([weight, arbitrary]) => ({ weight, arbitrary })),
);

/** What ends the leases of a node: a mini-batch whose nodes vanish too often is taken for one that crashes them, and rightly so. */
const vanishing: ReadonlySet<FaultKind> = new Set([
  ...(['kill-node', 'freeze-node', 'partition'] as const),
  // Nodes that stay with the one that led are not with the one that leads.
  ...(['freeze-coordinator', 'stream-partition', 'late-write'] as const),
]);
const vanishingsMax = 3;

/** Has them happen, each at its time. */
export function schedule(faults: readonly Fault[], cluster: Cluster): void {
  let vanishings = 0;
  for (const fault of faults) {
    cluster.world.after(fault.atMs, () => {
      if (vanishing.has(fault.kind) && (vanishings += 1) > vanishingsMax) return;
      if (!happen(fault, cluster)) return;
      cluster.count(fault.kind);
      const { node, forMs } = troubleOf(fault, cluster);
      if (forMs > 0) cluster.invariants.trouble(node, cluster.world.now + forMs);
    });
  }
}

/** Whom the fault keeps from the others, and how long at most; a stall of the coordinator is its own business. */
function troubleOf(fault: Fault, { nodes }: Cluster): { readonly node: NodeName | null; readonly forMs: number } {
  const node = 'node' in fault ? (nodes[fault.node % nodes.length]?.name ?? null) : null;
  switch (fault.kind) {
    case 'kill-coordinator':
    case 'power-cut':
    case 'kill-at-change':
    case 'restart-coordinator':
      // The last one may come much later than it was asked for.
      return { node: null, forMs: fault.downMs + (fault.kind === 'kill-at-change' ? 3_600_000 : 10_000) };
    case 'freeze-at-change':
    case 'late-write':
      return { node: null, forMs: fault.ms + 3_600_000 };
    case 'fill-disk':
    case 'sync-error':
      return { node: null, forMs: 30_000 };
    case 'kill-node':
      return { node, forMs: fault.downMs + 60_000 };
    case 'kill-one':
    case 'lose-disk':
      return { node: null, forMs: fault.downMs + 90_000 };
    case 'stream-partition':
    case 'freeze-coordinator':
    case 'stream-stall':
      return { node: null, forMs: fault.ms + 90_000 };
    case 'stream-leader':
      return { node: null, forMs: fault.staleMs + 90_000 };
    case 'freeze-node':
    case 'partition':
    case 'refuse':
      return { node, forMs: fault.ms };
    case 'slow':
      return { node, forMs: fault.ms + fault.extraMs };
    case 'drain-node':
    case 'cut':
    case 'near-miss':
    case 'half-open':
      return { node, forMs: 30_000 };
    case 'stall-coordinator':
    case 'clock-jump':
    case 'join-node':
    case 'flip-snapshot':
    case 'lose-tail':
      return { node, forMs: 0 };
  }
}

/** False when there was nothing that it could happen to. */
function happen(fault: Fault, cluster: Cluster): boolean {
  const { coordinator, network, nodes, disk } = cluster;
  const one = nodes[('node' in fault ? fault.node : 0) % nodes.length];
  if (!one) return false;
  switch (fault.kind) {
    case 'kill-coordinator':
      return coordinator.crash({ isPower: false, downMs: fault.downMs });
    case 'power-cut':
      return coordinator.crash({ isPower: true, downMs: fault.downMs });
    case 'kill-at-change':
      return coordinator.crashAtChange(fault);
    case 'restart-coordinator':
      return coordinator.restart(fault.downMs);
    case 'stall-coordinator':
      return coordinator.stall(fault.ms, fault.deafMs);
    case 'fill-disk':
      return cluster.fillDisk(fault.ms);
    case 'sync-error':
      if (!coordinator.isUp) return false;
      (fault.atMs % 2 === 0 ? disk : coordinator.ownDisk).failNextSync(() => true);
      return true;
    case 'flip-snapshot':
      return cluster.flipSnapshot();
    case 'clock-jump':
      coordinator.jumpClock(fault.ms);
      return true;
    case 'kill-node':
      return cluster.killNode(one, fault.isHost, fault.downMs);
    case 'freeze-node':
      one.freeze(fault.ms);
      return one.isUp;
    case 'drain-node':
      if (!one.isUp) return false;
      one.drain();
      return true;
    case 'join-node':
      return cluster.joinNode(fault.node);
    case 'near-miss':
      return cluster.nearMiss(one);
    case 'cut':
      network.cut(one.name);
      return one.isUp;
    case 'partition':
      network.partition(one.name, fault.direction, fault.ms);
      return true;
    case 'half-open':
      network.halfOpen(one.name, fault.side);
      return one.isUp;
    case 'slow':
      network.slow(one.name, fault.ms, fault.extraMs);
      return true;
    case 'refuse':
      network.refuse(one.name, fault.ms);
      return true;
    default:
      return happenToStream(fault, cluster);
  }
}
