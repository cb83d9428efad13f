/**
 * The progress watchdog: a job that has attempts under way of which none ever ends is stopped. A scorer that hangs is
 * ended by `timeout` on its node; this is for what even that does not end, and for people who want to know sooner.
 *
 *   nothing under way, or an attempt has ended ──► null ──► counting ◄──► paused      (limit reached while counting: Failed)
 *
 * @source Azure ML batch: a progress watchdog fails a stuck job, after a time computed from tries and timeout
 */
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { JobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Event } from './events.ts';
import { wantOfRoom } from './granting.ts';
import { heartbeatIntervalMs, type Job, type Ledger, type Lease } from './ledger.ts';

export interface Stillness {
  readonly sinceWallMs: number;
  /** Time that counts, up to the last pause. */
  readonly countedMs: number;
  /** Attended time from which on it counts again; null while it does not. */
  readonly from: number | null;
}

/** Leases that the message names; more would make it a page. */
const leasesNamed = 5;

/** How long a job may go without the end of any attempt. Absent in the settings of older releases. */
export function progressTimeoutMs({
  progressTimeoutMs: given,
  triesMax,
  timeoutMs,
}: Pick<DeploymentSettings, 'triesMax' | 'timeoutMs'> & Partial<DeploymentSettings>): number {
  return given ?? triesMax * timeoutMs + limits.progressOverheadMs;
}

/** A shadow has the time that its init() and its own run() may take, whatever the deployment says of itself. */
function stillMsMax({ deployment, shadow }: Job): number {
  const beside = shadow === null ? 0 : shadow.deployment.settings.timeoutMs + limits.hostInitMsMax;
  return progressTimeoutMs(deployment.settings) + beside;
}

/** `at`: attended milliseconds. */
export function checkStillness(ledger: Ledger, at: number, wallMs: number): readonly Event[] {
  const running = runningLeases(ledger);
  const events: Event[] = [];
  for (const job of ledger.jobs.values()) {
    // A job that is being canceled has a time limit of its own.
    if (isFinal(job.state) || job.state === 'Finalizing' || job.state === 'CancelRequested') continue;
    const leases = running.get(job.name) ?? [];
    const stillness = next(ledger, job, { leases, at, wallMs });
    if (stillness !== job.stillness) events.push({ kind: 'StillnessNoted', job: job.name, stillness });
    if (stillness === null || stillMs(stillness, at) <= stillMsMax(job)) continue;
    const error = { code: 'NO_PROGRESS', message: message(job, stillness, leases), detail: '' } as const;
    events.push({ kind: 'JobStateChanged', job: job.name, state: 'Failed', error, wallMs });
  }
  return events;
}

/** Inside run() as far as is known: a result that is being uploaded or written has left it. */
function runningLeases(ledger: Ledger): ReadonlyMap<JobName, readonly Lease[]> {
  const found = new Map<JobName, Lease[]>();
  for (const lease of ledger.leases.values()) {
    if (lease.startedAt === null || lease.placed || lease.uploadSegment !== null) continue;
    const leases = found.get(lease.job);
    if (leases) leases.push(lease);
    else found.set(lease.job, [lease]);
  }
  return found;
}

interface Look {
  readonly leases: readonly Lease[];
  readonly at: number;
  readonly wallMs: number;
}

/** The same object when nothing has changed. */
function next(ledger: Ledger, job: Job, { leases, at, wallMs }: Look): Stillness | null {
  const { stillness } = job;
  if (leases.length === 0) return null;
  const counts = isCounting(ledger, job, leases, at);
  if (stillness === null) return counts ? { sinceWallMs: wallMs, countedMs: 0, from: at } : null;
  if (counts === (stillness.from !== null)) return stillness;
  return { ...stillness, countedMs: stillMs(stillness, at), from: counts ? at : null };
}

/** Not while there is a known reason why nothing ends: no room, a restart, an environment being built, a silent node. */
function isCounting(ledger: Ledger, job: Job, leases: readonly Lease[], at: number): boolean {
  if (wantOfRoom(ledger, job) !== null || at < ledger.grantFrom) return false;
  for (const { isConnected, preparations } of ledger.nodes.values()) {
    if (isConnected && preparations.has(job.name)) return false;
  }
  const patienceMs = 2 * heartbeatIntervalMs(ledger);
  return leases.some((lease) => {
    const node = ledger.nodes.get(lease.node);
    return node !== undefined && node.isConnected && at - node.heardAt <= patienceMs;
  });
}

function stillMs({ countedMs, from }: Stillness, at: number): number {
  return countedMs + (from === null ? 0 : at - from);
}

function message(job: Job, { sinceWallMs }: Stillness, leases: readonly Lease[]): string {
  const limitMs = stillMsMax(job);
  const named = leases.slice(0, leasesNamed).map(({ batch, node }) => {
    const [first, count] = [job.batches.first(batch), job.batches.files(batch)];
    return `${count === 1 ? `file ${first}` : `files ${first} to ${first + count - 1}`} on ${node}`;
  });
  const beside = job.shadow === null ? '' : ' with what its shadow may take for init() and run()';
  const more = leases.length > named.length ? ` and ${leases.length - named.length} more` : '';
  return (
    `no attempt has ended since ${new Date(sinceWallMs).toISOString()}, which is longer than the ${limitMs / 1_000} s of ` +
    `progress_update_timeout${beside} (by default max_retries × timeout + ${limits.progressOverheadMs / 1_000} s); ` +
    `being scored: ${named.join(', ')}${more}; what they printed is in ${job.outputDir}/_logs ` +
    `(batchmill job logs ${job.name}); raise progress_update_timeout when run() may take so long`
  );
}
