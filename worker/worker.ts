/**
 * A worker node: joins a coordinator, scores what it is given, reports. All decisions are made in `core/`; this shell
 * carries them out and tells the core what came of them.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Environment } from '../common/config/process-settings.ts';
import type { JoinRequest, NodeLabels } from '../common/core/cluster-messages.ts';
import { incarnation, jobName, nodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import { spokenHere } from '../common/core/protocol.ts';
import type { Clock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import type { Log } from '../common/io/log.ts';
import { packageRelease } from '../common/io/package-files.ts';
import { plainTrust, type ClusterTrust } from '../common/rpc/credentials.ts';
import { CoordinatorAddresses } from './coordinator-addresses.ts';
import type { FoundDevices } from './devices/device.ts';
import { NodeFiles } from './node-files.ts';
import type { NodeIdentity } from './node-identity.ts';
import { lockNode } from './node-lock.ts';
import { WorkerShell } from './worker-shell.ts';

export interface WorkerOptions {
  /** `host:port`, or `unix:` and a path. */
  readonly address: string;
  /** The same of other coordinators of the cluster, which take over from that one; default: none. */
  readonly others?: readonly string[];
  /** Join token; null where the coordinator wants none, or the node has a certificate from before. */
  readonly token: string | null;
  /** TLS, and of which authority: the fingerprint, or null for the one joined before. Absent: in the clear. */
  readonly security?: { readonly fingerprint: string | null } | null;
  /** Unique among live nodes; letters, digits, `.`, `_`, `-`. */
  readonly name: string;
  /** Scoring hosts at once. */
  readonly slots: number;
  /** What computes choose nodes by; default: none. */
  readonly labels?: NodeLabels;
  /** GPUs of the machine, where jobs may ask for a share of them; absent: found when the first host needs to know. */
  readonly devices?: FoundDevices;
  /** Interpreter for Python scripts: a path or a name; null: whichever is on PATH. */
  readonly python: string | null;
  /** Absolute; may be shared by several nodes of one machine. */
  readonly scratchDir: string;
  /** Built environments; absolute. Default: in the scratch folder. */
  readonly environmentsDir?: string;
  /** Of this process; scoring hosts are passed a chosen part of it. */
  readonly environment: Environment;
  readonly log: Log;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** When the node will have left, by the wall clock; null: it stays. */
  readonly untilWallMs?: number | null;
  /** How long the first join is tried; default {@link limits.joinMsMax}, {@link limits.joinBusyMsMax} once the coordinator has shown itself. */
  readonly joinTimeoutMs?: number;
  /** Results that may wait for their commit; default {@link limits.spoolBytesMax}. */
  readonly spoolBytesMax?: number;
  /** Models and code on this machine; default {@link limits.artifactCacheBytesMax}. */
  readonly cacheBytesMax?: number;
  /** Models and code are fetched from other worker nodes too, and given to them; default: true. */
  readonly peers?: boolean;
  /** What is kept of stdout and of stderr of each scoring host; default {@link limits.hostLogBytesMax}. */
  readonly hostLogBytesMax?: number;
}

export interface WorkerStats {
  readonly link: 'down' | 'joining' | 'up' | 'closed';
  readonly slots: number;
  /** Mini-batches on a slot. */
  readonly running: number;
  /** Leases in any state. */
  readonly held: number;
  /** Mini-batches since the start. */
  readonly scored: number;
  readonly failed: number;
  readonly hostsStarted: number;
  readonly joins: number;
}

export interface WorkerHandle {
  readonly name: string;
  /** Resolves when the node has left and nothing of it is left; rejects when it had to give up. */
  readonly closed: Promise<void>;
  /** Finishes what is running, returns the rest, leaves. Resolves with `closed`. */
  drain(): Promise<void>;
  /** Leaves at once: what is running is killed and returned. Resolves with `closed`. */
  close(): Promise<void>;
  stats(): WorkerStats;
  /** Folder of the job's logs on this node, which travel to the coordinator as well; absent when there are none. */
  logsDir(job: string): string;
}

/**
 * Resolves when the node has joined. Throws TOKEN_INVALID, PROTOCOL_MISMATCH, NAME_TAKEN (in the cluster, or in the scratch folder) at once, and
 * COORDINATOR_UNREACHABLE when nobody has answered in time. Once joined, it reconnects for as long as it lives.
 */
export async function startWorker(options: WorkerOptions): Promise<WorkerHandle> {
  const { name, scratchDir, clock, log } = options;
  const path = new NodeFiles(scratchDir, nodeName(name)).lockFile;
  const release = await lockNode({ path, name, clock, delay, log });
  try {
    return await startLocked(options, release);
  } catch (error) {
    await release();
    throw error;
  }
}

async function startLocked(options: WorkerOptions, release: () => Promise<void>): Promise<WorkerHandle> {
  const addresses = new CoordinatorAddresses([options.address, ...(options.others ?? [])]);
  const { security } = options;
  const identity = security ? await openIdentity(options, addresses, security.fingerprint) : null;
  const trust = (): ClusterTrust => identity?.trust ?? plainTrust;
  const joinMsMax = options.joinTimeoutMs ?? (identity?.isNew ? limits.joinBusyMsMax : limits.joinMsMax);
  const shell = new WorkerShell({ ...options, addresses, request: joinRequest(options), trust, joinMsMax });
  const closed = shell.closed.finally(() => {
    identity?.close();
    return release();
  });
  // Whoever waits for it hears of it.
  closed.catch(() => undefined);
  await shell.start();
  const leave = (how: 'drain' | 'close'): Promise<void> => {
    shell.leave(how).catch(() => undefined);
    return closed;
  };
  return {
    name: options.name,
    closed,
    drain: () => leave('drain'),
    close: () => leave('close'),
    stats: () => shell.stats(),
    logsDir: (job) => new NodeFiles(options.scratchDir, nodeName(options.name)).logsDir(jobName(job)),
  };
}

/** Certificates are loaded only by who has one: `run` joins itself without. */
async function openIdentity(
  { name, token, scratchDir, clock, log, joinTimeoutMs }: WorkerOptions,
  addresses: CoordinatorAddresses,
  fingerprint: string | null,
): Promise<NodeIdentity> {
  const dir = new NodeFiles(scratchDir, nodeName(name)).identityDir;
  const { NodeIdentity } = await import('./node-identity.ts');
  const tried = {
    joinMsMax: joinTimeoutMs ?? limits.joinMsMax,
    busyMsMax: joinTimeoutMs ?? limits.joinBusyMsMax,
  };
  return await NodeIdentity.open({ addresses, name, dir, token, fingerprint, ...tried, clock, delay, log });
}

function joinRequest({ name, token, security, slots, labels = {} }: WorkerOptions): JoinRequest {
  return {
    protocol: spokenHere.oldest,
    protocolNewest: spokenHere.newest,
    release: packageRelease(),
    // With certificates it has served its purpose before.
    joinToken: security ? '' : (token ?? ''),
    name: nodeName(name),
    incarnation: incarnation(randomUUID()),
    slots,
    hostname: hostname(),
    pid: process.pid,
    labels,
    answersDiagnose: true,
  };
}
