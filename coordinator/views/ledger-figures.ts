/** How much there is of everything now: one pass over jobs and nodes, asked for as often as somebody scrapes. Pure. */
import { isFinal, jobStates, type JobState } from '../../common/core/states.ts';
import type { Ledger } from '../core/ledger.ts';

export const nodeStates = ['ready', 'suspect', 'lost', 'draining', 'gone'] as const;

export interface LedgerFigures {
  readonly jobs: ReadonlyMap<JobState, number>;
  readonly jobsPaused: number;
  /** Of jobs that have not ended: neither committed nor given up, those that are leased among them. */
  readonly batchesOpen: number;
  readonly batchesLeased: number;
  /** Failed, and tried again after a pause. */
  readonly batchesWaiting: number;
  readonly nodes: ReadonlyMap<(typeof nodeStates)[number], number>;
  /** Of nodes that may be given work. */
  readonly slots: number;
  readonly leases: number;
  readonly stagedBytes: number;
  readonly stagingBytesMax: number;
  readonly stallSeconds: number;
}

export function ledgerFigures(ledger: Ledger): LedgerFigures {
  const jobs = new Map<JobState, number>(jobStates.map((state) => [state, 0]));
  const nodes = new Map(nodeStates.map((state) => [state, 0]));
  const sums = { jobsPaused: 0, batchesOpen: 0, batchesLeased: 0, batchesWaiting: 0 };
  for (const job of ledger.jobs.values()) {
    if (job.rowsOf === null) jobs.set(job.state, (jobs.get(job.state) ?? 0) + 1);
    if (isFinal(job.state)) continue;
    if (job.isPaused && job.rowsOf === null) sums.jobsPaused += 1;
    sums.batchesOpen += job.open;
    sums.batchesLeased += job.leased;
    sums.batchesWaiting += job.waiting.size;
  }
  for (const { state } of ledger.nodes.values()) nodes.set(state, (nodes.get(state) ?? 0) + 1);
  const { stagedBytes, stagingBytesMax, ready, leases, stallMs } = ledger;
  return {
    ...{ jobs, nodes, ...sums, slots: ready.slots, leases: leases.size },
    ...{ stagedBytes, stagingBytesMax, stallSeconds: stallMs / 1_000 },
  };
}
