/** A cluster that is upgraded under load, one process after the other. */
import { runProgram } from '../helpers/programs.ts';
import { settled } from './scenarios.ts';
import type { StandbyCluster } from './standby-cluster.ts';

/**
 * `cluster` has begun with an earlier program and two worker nodes, `a` leads, and `job` runs. A worker node is the first, so that one of
 * this release works for a coordinator of the earlier one; the other is the last, so that it is the other way round too. Resolves when
 * every process is of this release, and results have been committed after each step.
 * @returns protocols of the worker nodes' sessions, in order
 */
export async function upgrade(cluster: StandbyCluster, job: string): Promise<readonly (readonly number[])[]> {
  const moves = async (): Promise<void> => {
    const committed = await settled(cluster, job, 0);
    await settled(cluster, job, committed + 4);
  };
  const sessions: number[][] = [];
  const noted = (): void => {
    for (const [index, worker] of cluster.workers.entries()) (sessions[index] ??= []).push(protocolOf(worker.stderr));
  };
  await moves();
  noted();
  await cluster.upgradeWorker(0);
  await moves();
  noted();

  cluster.coordinator('b').program.signal('SIGTERM');
  await cluster.coordinator('b').program.endsWithin(30_000);
  cluster.restart('b');
  await cluster.standsBy('b');
  const committed = await settled(cluster, job, 0);
  const handed = await runProgram(['coordinator', 'handover', '--server', cluster.server], { cwd: cluster.dir });
  if (handed.code !== 0) throw new Error(handed.stderr);
  await cluster.takeover(job, 'b', committed);
  await moves();
  noted();

  const { program } = cluster.coordinator('a');
  await program.says(/standing by for/, 60_000);
  program.signal('SIGTERM');
  await program.endsWithin(30_000);
  cluster.restart('a');
  await cluster.standsBy('a');
  await cluster.upgradeWorker(1);
  await moves();
  noted();
  return sessions;
}

/** Of the latest session; releases before protocol 2 do not tell, and have no other than 1. */
function protocolOf(stderr: string): number {
  const joined = stderr.split('\n').findLast((line) => line.includes('"joined the coordinator"')) ?? '{}';
  const { protocol = 1 } = JSON.parse(joined) as { readonly protocol?: number };
  return protocol;
}
