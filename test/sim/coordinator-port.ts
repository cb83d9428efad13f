/** What worker nodes and the network see of the coordinator's process. */
import type { JobName, NodeName } from '../../common/core/ids.ts';
import type { ClusterBackend } from '../../coordinator/service/cluster-server.ts';

export interface CoordinatorPort {
  /** Whether a process is there that takes connections, be it at a standstill. */
  readonly isUp: boolean;
  /**
   * Runs `what` when the coordinator's event loop gets to it: at once, when its stall is over, or never when it is killed
   * before. What comes first is run first.
   */
  arrive(what: (backend: ClusterBackend) => void, from: NodeName | null): void;
  /** A scorer of the job has been initialised once, so that one that cannot be is the node's trouble. */
  isInitialised(job: JobName): boolean;
}
