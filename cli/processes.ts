/**
 * What the command line asks of the processes that it starts. They are loaded when a command needs them, so that
 * `--help` and `job …` do not wait for gRPC and scorers.
 */
import type { Address } from '../common/config/address.ts';
import type { CoordinatorSettings, WorkerSettings } from '../common/config/process-settings.ts';
import type { InputSelection } from '../common/core/input-selection.ts';
import type { LocalDeployment } from '../common/core/deployment.ts';
import { easeCollector } from '../common/io/collector.ts';
import type { StandbyHooks } from '../coordinator/standby/open-leadership.ts';
import type { JobErrorsView, JobEvent, JobView } from '../coordinator/api/backend.ts';

export interface CoordinatorProcess {
  /** Where it listens, with the real ports. */
  readonly listen: Address;
  readonly http: Address;
  /** What `worker join` needs; null where none is asked for. */
  readonly joinToken: string | null;
  /** Null: it serves in the clear, and whoever reaches its ports may do everything. */
  readonly access: CoordinatorAccess | null;
  /** Resolves when nothing of it is left; rejects when it cannot go on. */
  readonly closed: Promise<void>;
  /** Ends in order; a restart goes on with its jobs. Resolves with `closed`. */
  close(): Promise<void>;
}

export interface CoordinatorAccess {
  /** Certificate of the cluster's authority, PEM. */
  readonly authority: string;
  readonly fingerprint: string;
  makeAdminToken(user: string): Promise<string>;
}

export interface WorkerProcess {
  readonly name: string;
  readonly slots: number;
  /** Resolves when the node has left and nothing of it is left; rejects when it had to give up. */
  readonly closed: Promise<void>;
  /** Finishes what is running, returns the rest, leaves. Resolves with `closed`. */
  drain(): Promise<void>;
  /** Leaves at once. Resolves with `closed`. */
  close(): Promise<void>;
}

/** `run`: a coordinator and worker nodes in this process, for one job. */
export interface EmbeddedOptions {
  readonly deployment: LocalDeployment;
  /** Absolute. */
  readonly inputPath: string;
  readonly selection: InputSelection;
  /** Absolute. */
  readonly outputDir: string;
  readonly isOverwrite: boolean;
  readonly since: string | null;
  readonly nodes: number;
  /** Of each node. */
  readonly slots: number;
  readonly python: string;
  /** Aborting cancels the job; it still ends in order. */
  readonly signal: AbortSignal;
  /** Every event of the job, as `job stream` gives them. */
  readonly onEvent: (event: JobEvent) => void;
  /** Of a job that has failed, at its end. */
  readonly onErrors: (errors: JobErrorsView) => void;
  /** Of a job whose rows have not got to the store of its output: where they are, and how they get there. */
  readonly onKept: (text: string) => void;
}

export interface Processes {
  /** Listens when it resolves; a standby when it leads. @throws LISTEN_FAILED, STATE_LOCKED, JOURNAL_CORRUPT, … */
  startCoordinator(settings: CoordinatorSettings, standby: StandbyHooks | null): Promise<CoordinatorProcess>;
  /** Has joined when it resolves. @throws COORDINATOR_UNREACHABLE, TOKEN_INVALID, PROTOCOL_MISMATCH, NAME_TAKEN */
  startWorker(settings: WorkerSettings): Promise<WorkerProcess>;
  /** Resolves with the job in its final state, also when that is Failed or Canceled. @throws what submitting throws; JOB_CANCELED before there is a job */
  runEmbedded(options: EmbeddedOptions): Promise<JobView>;
}

/** The real ones. */
export const installedProcesses: Processes = {
  startCoordinator: async (settings, standby) => {
    easeCollector();
    return (await import('../coordinator/coordinator.ts')).startCoordinator(settings, standby);
  },
  startWorker: async (settings) => {
    easeCollector();
    return (await import('./join-worker.ts')).joinWorker(settings);
  },
  runEmbedded: async (options) => {
    easeCollector();
    return (await import('./embedded.ts')).runEmbedded(options);
  },
};
