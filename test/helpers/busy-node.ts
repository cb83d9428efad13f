/** Measures how late a worker node's heartbeats are while every slot of it computes without a pause. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { NodeView } from '../../coordinator/api/backend.ts';
import { ClusterProcesses } from './cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from './job-folder.ts';
import { testPython } from './python.ts';

export interface BusyNodeOptions {
  /** Exists; its maker removes it, and ends the processes. */
  readonly dir: string;
  readonly script: 'spin.py' | 'spin.ts';
  readonly heartbeatMs: number;
  /** Of one mini-batch. */
  readonly spinMs: number;
  /** Mini-batches of each slot, one after the other. */
  readonly rounds: number;
}

export interface BusyNode {
  readonly slots: number;
  /** Longest time between two heartbeats. */
  readonly gapMsMax: number;
  readonly miniBatches: number;
}

/** As many slots as processors, all at work from the first mini-batch to the last. */
export async function measureBusyNode(options: BusyNodeOptions): Promise<BusyNode> {
  const { dir, script, heartbeatMs, spinMs, rounds } = options;
  const slots = availableParallelism();
  const miniBatches = slots * rounds;
  const input = writeInputs(join(dir, 'in'), smallFiles(miniBatches));
  const deployment = writeDeployment(dir, 'spin', {
    script,
    miniBatchSize: 1,
    environment: { SPIN_MS: String(spinMs) },
    more: ['retry_settings:', '  timeout: 600'],
  });
  const cluster = await ClusterProcesses.start({ dir, heartbeat: `${heartbeatMs}ms` });
  await cluster.startWorker('node-busy', { slots, python: testPython() });
  const job = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
  await cluster.job(job, (view) => view.status === 'Completed', 'completed', rounds * spinMs * 4 + 60_000);
  const { stdout } = await cluster.cli(['node', 'list', '-o', 'json']);
  const [node] = JSON.parse(stdout) as readonly NodeView[];
  if (node?.state !== 'ready') throw new Error(`the node is ${node?.state}: ${stdout}`);
  return { slots, miniBatches, gapMsMax: node.heartbeat_gap_ms_max };
}
