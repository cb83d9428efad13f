/** What there is to do for the nodes of a compute: what an allocator starts and ends them by. */
import type { ComputeResource } from './resources.ts';
import { contradict, hasLabels } from './computes.ts';
import type { Job, Ledger, Node } from './ledger.ts';

export interface Demand {
  /** That have something to score, and are not paused. */
  readonly jobs: number;
  /** Of these, mini-batches that wait or are under way; what is not cut yet counts as its files. */
  readonly miniBatches: number;
  /** Those that are connected and have its labels. */
  readonly nodes: readonly Node[];
}

export function demandOf(ledger: Ledger, compute: ComputeResource): Demand {
  let [jobs, miniBatches] = [0, 0];
  for (const job of ledger.jobs.values()) {
    if (job.state !== 'Running' || job.isPaused || !isFor(job, compute)) continue;
    const open = openOf(job);
    if (open === 0) continue;
    jobs += 1;
    miniBatches += open;
  }
  const nodes = [...ledger.nodes.values()].filter((node) => node.isConnected && hasLabels(node, compute.labels));
  return { jobs, miniBatches, nodes };
}

/**
 * One without labels is for jobs that name no compute, too: they may be scored anywhere. Of a job that requires labels nobody knows
 * whether nodes that join will have them (GPUs are found then); where it names the compute, they are expected to.
 */
function isFor({ origin: { compute, require = {} } }: Job, { name, labels }: ComputeResource): boolean {
  if (compute !== null) return compute.toLowerCase() === name.toLowerCase() && !contradict(labels, require);
  return Object.keys(labels).length === 0 && Object.keys(require).length === 0;
}

function openOf({ batches, pending, leased, waiting }: Job): number {
  const { unleased } = batches;
  return leased + Math.max(waiting.size, pending.hasRuns ? unleased.files : unleased.batches);
}
