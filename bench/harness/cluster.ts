/** A coordinator and a worker node on free loopback ports, for jobs of a bench. */
import { join } from 'node:path';
import type { Command, Meter } from './meter.ts';

export type Role = 'coordinator' | 'worker node';

/** How the processes are told apart by their command lines, for a {@link Meter}. */
export const roleLabels: Readonly<Record<Role, string>> = {
  coordinator: 'coordinator start',
  'worker node': 'worker join',
};

export interface ClusterOptions {
  /** Absolute folder of state, scratch and contexts. */
  readonly dir: string;
  readonly slots: number;
  /** Without TLS. */
  readonly isInsecure: boolean;
  /** The command line of the program. */
  readonly program: (args: readonly string[], role: Role) => Command;
}

/** Starts both under `meter`, which ends them. Resolves, when the worker node has joined, with the variables by which a command finds the coordinator. */
export async function startCluster(
  meter: Meter,
  { dir, slots, isInsecure, program }: ClusterOptions,
): Promise<Readonly<Record<string, string>>> {
  // Contexts of whoever runs the bench are left alone.
  const env = { XDG_CONFIG_HOME: join(dir, 'config') };
  const start = ['coordinator', 'start', '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0'];
  const more = ['--state-dir', join(dir, 'state'), ...(isInsecure ? ['--insecure'] : [])];
  const says = '"http": "([^"]+)",\\s+"join": "batchmill worker join ([^"]+)"';
  const command = program([...start, ...more, '-o', 'json'], 'coordinator');
  const [http = '', join_ = ''] = await meter.start({ ...command, env }, says);
  const words = ['worker', 'join', ...join_.split(' '), '--slots', String(slots)];
  const worker = program([...words, '--scratch-dir', join(dir, 'scratch')], 'worker node');
  await meter.start({ ...worker, env }, 'joined .* slots');
  // One without TLS writes no context.
  return { ...env, ...(isInsecure ? { BATCHMILL_SERVER: http } : { BATCHMILL_CONTEXT: 'local' }) };
}
