/** `allocator slurm`: submits worker nodes to Slurm when there is work for a compute, and lets them go when there is none. */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import * as z from 'zod';
import { parseAddresses } from '../../common/config/address.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { slurmOptionFault } from '../../common/core/slurm-options.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { readCompute, runAllocator, type Compute } from '../allocator/run-allocator.ts';
import { Slurm } from '../allocator/slurm.ts';
import type { Transport } from '../api/transport.ts';
import { interruptible, type CommandContext } from '../command-context.ts';
import { strangerError } from '../connection.ts';

export interface AllocatorFlags {
  readonly compute: string;
  readonly coordinator?: string;
  readonly logDir?: string;
}

const serverReply = z.looseObject({ instance: z.string() });

/** Runs until it is interrupted; its jobs go on. @returns the exit code */
export async function slurmAllocator(context: CommandContext, flags: AllocatorFlags): Promise<number> {
  const { host, output } = context;
  const api = await context.transport();
  const compute = await readCompute(api, flags.compute);
  const slurm = new Slurm({
    ...(await submission(context, api, compute, flags)),
    environment: environmentOf(context, compute, flags),
  });
  await mkdir(logDirOf(host.cwd, flags), { recursive: true });
  // What is wrong with sbatch or its options is told before anybody waits for nodes.
  await slurm.check();
  const own = (await slurm.jobs()).filter(({ state }) => state === 'pending' || state === 'running').length;
  const found = own === 0 ? '' : `; ${own} of its Slurm jobs are there already`;
  output.note(
    `allocating worker nodes for compute ${compute.name}, ${compute.max_instances} at most${found}; Ctrl-C stops`,
  );
  const interrupt = interruptible(host, () => output.note('stopping; Slurm jobs go on without it'));
  const { clock, delay } = host;
  try {
    const note = (text: string): void => output.note(text);
    await runAllocator({ api, slurm, compute, clock, delay, note, lookMs: limits.allocatorLookMs }, interrupt.signal);
    return 0;
  } finally {
    interrupt.dispose();
  }
}

async function submission({ host }: CommandContext, api: Transport, compute: Compute, flags: AllocatorFlags) {
  const server = serverReply.safeParse((await api.ask('GET', '/v1/server')).value);
  if (!server.success) throw strangerError(api.origin, 'it does not say who it is');
  const fault = compute.slurm_options.map(slurmOptionFault).find((one) => one !== null);
  if (fault) throw new BatchError('REQUEST_INVALID', `slurm_options of compute ${compute.name}: ${fault}`);
  return {
    // Of this coordinator and this compute, whichever process asks, also after a crash.
    mark: `batchmill:${server.data.instance}:${compute.name.toLowerCase()}`,
    jobName: `batchmill-${compute.name}`,
    options: compute.slurm_options,
    script: packageFile('deploy', 'slurm', 'batchmill-workers.sbatch'),
    cwd: host.cwd,
    output: join(logDirOf(host.cwd, flags), 'slurm-%j.log'),
  };
}

/** What the script goes by; see its head. */
function environmentOf({ host }: CommandContext, { labels }: Compute, flags: AllocatorFlags) {
  const { environment, cwd } = host;
  const coordinator = flags.coordinator ?? environment['BATCHMILL_COORDINATOR'];
  if (coordinator === undefined) {
    const message = 'wanted the address that worker nodes join, such as --coordinator alpha:7077';
    throw new BatchError('USAGE', message);
  }
  parseAddresses(coordinator, '--coordinator');
  return {
    ...environment,
    BATCHMILL_COORDINATOR: coordinator,
    BATCHMILL_HOME: environment['BATCHMILL_HOME'] ?? packageFile(),
    BATCHMILL_LABEL: Object.entries(labels)
      .map((pair) => pair.join('='))
      .join(','),
    BATCHMILL_LOG_DIR: logDirOf(cwd, flags),
  };
}

/** Slurm makes no folder for its own log. */
function logDirOf(cwd: string, { logDir = 'batchmill-logs' }: AllocatorFlags): string {
  return resolve(cwd, logDir);
}
