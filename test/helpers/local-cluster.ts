/** A coordinator and worker nodes in this process, silent and over real gRPC, with all that they keep in one folder. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandEnvironment } from '../../common/config/process-settings.ts';
import { systemClock } from '../../common/io/clock.ts';
import { silentLog } from '../../common/io/log.ts';
import { systemRandom } from '../../common/io/random.ts';
import { openCoordinator, type Coordinator, type CoordinatorOptions } from '../../coordinator/coordinator.ts';
import { startWorker, type WorkerHandle, type WorkerOptions } from '../../worker/worker.ts';

const parts = { log: silentLog, clock: systemClock, random: systemRandom };

export class LocalCluster {
  /** Goes with it. */
  readonly dir: string;
  readonly workers: WorkerHandle[] = [];
  coordinator: Coordinator;

  private constructor(dir: string, coordinator: Coordinator) {
    this.dir = dir;
    this.coordinator = coordinator;
  }

  /** Serves worker nodes on a free port, and no HTTP. `dir`: its folder, when the caller has made one. */
  static async start(more: Partial<CoordinatorOptions> = {}, dir: string = newFolder()): Promise<LocalCluster> {
    return new LocalCluster(dir, await opened(dir, more));
  }

  /** Another coordinator of this folder, with the same state directory unless told otherwise. The caller closes one of them. */
  open(more: Partial<CoordinatorOptions> = {}): Promise<Coordinator> {
    return opened(this.dir, more);
  }

  /** Has joined when it resolves. */
  async join(name: string, slots: number, more: Partial<WorkerOptions> = {}): Promise<WorkerHandle> {
    const { listen: address, joinToken: token } = this.coordinator;
    const scratchDir = join(this.dir, 'scratch');
    const given = { address, token, name, slots, scratchDir, python: null, environment: commandEnvironment() };
    const worker = await startWorker({ ...parts, ...given, ...more });
    this.workers.push(worker);
    return worker;
  }

  /** Nothing of it is left then. */
  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
    await this.coordinator.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** In the system's temporary one. */
export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'batchmill-cluster-'));
}

function opened(dir: string, more: Partial<CoordinatorOptions>): Promise<Coordinator> {
  const given = { stateDir: join(dir, 'state'), listen: '127.0.0.1:0', http: null, heartbeatMs: null };
  return openCoordinator({ ...parts, ...given, keepFinishedMs: null, ...more });
}
