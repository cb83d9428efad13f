/** Faults of a journal's stream, and of coordinators that take turns, done to a cluster. */
import type { Cluster } from './cluster.ts';
import type { CoordinatorProcess } from './coordinator-process.ts';
import type { StreamFault } from './stream-plan.ts';

/** Lax servers sync so often. */
const syncEveryMs = 2_000;
/** By then a coordinator that is frozen is missed by nobody yet. */
const lateKillMs = 500;

/** False when there was nothing that it could happen to. */
export function happenToStream(fault: StreamFault, cluster: Cluster): boolean {
  const { servers, coordinators } = cluster;
  if (!servers) return false;
  const one = chosen('who' in fault ? fault.who : null, cluster);
  switch (fault.kind) {
    case 'stream-partition':
      servers.block(coordinators.indexOf(one), fault.direction, fault.ms);
      return true;
    case 'stream-stall':
      servers.stop(fault.ms);
      return true;
    case 'stream-leader':
      servers.depose(
        coordinators.flatMap((_, who) => ((fault.clients >> who) % 2 === 1 ? [who] : [])),
        fault.staleMs,
      );
      return true;
    case 'lose-tail':
      return cluster.isLax && servers.loseTail(syncEveryMs, fault.messages) > 0;
    case 'freeze-coordinator':
      return one.stall(fault.ms, 0);
    case 'freeze-at-change':
      return one.freezeAtChange(fault);
    case 'late-write':
      return cluster.coordinator.freezeAtWrite(fault, () => {
        for (const node of cluster.nodes) cluster.world.after(lateKillMs, () => cluster.killNode(node, true, 300));
      });
    case 'kill-one':
      return one.crash({ isPower: fault.downMs % 300 === 0, downMs: fault.downMs });
    case 'lose-disk':
      // What lax servers lose is on the disks still.
      return !cluster.isLax && one.loseDisk(cluster.newDisk(), fault.downMs);
  }
}

function chosen(who: number | null, { coordinator, coordinators }: Cluster): CoordinatorProcess {
  return who === null ? coordinator : (coordinators[who % coordinators.length] as CoordinatorProcess);
}
