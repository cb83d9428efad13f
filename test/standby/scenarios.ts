/** What may happen to a cluster of coordinators, and what must come of it: the output of a calm run, byte for byte. */
import { systemClock } from '../../common/io/clock.ts';
import { runProgram } from '../helpers/programs.ts';
import type { StandbyCluster } from './standby-cluster.ts';

export interface Happening {
  readonly cluster: StandbyCluster;
  readonly job: string;
  /** Mini-batches committed when it begins. */
  readonly committed: number;
}

export interface Outcome {
  /** Until results were committed again; null where nobody takes over. */
  readonly takeoverMs: number | null;
  /** From when the one that led served nobody any more until the next one did, by their logs; absent: unknown. */
  readonly unledMs?: number;
}

export type Scenario = (happening: Happening) => Promise<Outcome>;

/** Those in which nothing is in the clear. */
export const secured: ReadonlySet<string> = new Set(['the leader is killed, and everything is secured']);

const leaderKilled: Scenario = async ({ cluster, job, committed }) => {
  cluster.coordinator('a').program.signal('SIGKILL');
  const takeoverMs = await cluster.takeover(job, 'b', committed);
  cluster.restart('a');
  await cluster.standsBy('a');
  return { takeoverMs };
};

export const scenarios = {
  'the leader is killed': leaderKilled,
  'the leader is killed, and everything is secured': leaderKilled,
  'the leader is frozen and comes back': async ({ cluster, job, committed }) => {
    const { program } = cluster.coordinator('a');
    program.signal('SIGSTOP');
    const takeoverMs = await cluster.takeover(job, 'b', committed);
    program.signal('SIGCONT');
    await cluster.standsBy('a');
    return { takeoverMs };
  },
  'the leader is cut off from NATS': async ({ cluster, job, committed }) => {
    const { program, proxies } = cluster.coordinator('a');
    const healed = Promise.all(proxies.map((proxy) => proxy.trouble('swallow', 'both', 20_000)));
    const takeoverMs = await cluster.takeover(job, 'b', committed);
    await healed;
    await program.says(/standing by for/, 60_000);
    return { takeoverMs };
  },
  'the NATS server that leads is killed and comes back': async ({ cluster, job }) => {
    const server = cluster.nats[await cluster.natsLeader()];
    const begin = systemClock.monotonic();
    await server?.kill();
    const committed = await settled(cluster, job, 0);
    await cluster.job(job, (view) => view.mini_batches.committed > committed + 2, 'commits');
    const takeoverMs = Math.round(systemClock.monotonic() - begin);
    await server?.start();
    return { takeoverMs };
  },
  'a NATS server is killed for good': async ({ cluster, job }) => {
    const other = ((await cluster.natsLeader()) + 1) % cluster.nats.length;
    const begin = systemClock.monotonic();
    await cluster.nats[other]?.kill();
    const committed = await settled(cluster, job, 0);
    await cluster.job(job, (view) => view.mini_batches.committed > committed + 2, 'commits');
    return { takeoverMs: Math.round(systemClock.monotonic() - begin) };
  },
  'the leader hands over': async ({ cluster, job, committed }) => {
    const asked = await runProgram(['coordinator', 'handover', '--server', cluster.server], { cwd: cluster.dir });
    if (asked.code !== 0) throw new Error(asked.stderr);
    const takeoverMs = await cluster.takeover(job, 'b', committed);
    await cluster.standsBy('a');
    const [ended, serves] = [
      saidAt(cluster.coordinator('a').program.stderr, 'the coordinator ends'),
      saidAt(cluster.coordinator('b').program.stderr, 'coordinator serves'),
    ];
    return { takeoverMs, unledMs: serves - ended };
  },
} as const satisfies Readonly<Record<string, Scenario>>;

/** When the log of a process had its last line with that message, in milliseconds since 1970. */
function saidAt(stderr: string, message: string): number {
  const line = stderr.split('\n').findLast((one) => one.includes(`"message":"${message}"`)) ?? '{}';
  return Date.parse((JSON.parse(line) as { readonly time?: string }).time ?? '');
}

export async function settled(cluster: StandbyCluster, job: string, count: number): Promise<number> {
  const view = await cluster.job(job, ({ mini_batches: { committed } }) => committed >= count, `${count} commits`);
  return view.mini_batches.committed;
}
