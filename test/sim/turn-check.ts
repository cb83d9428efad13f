/** Whose turn it was when a lease was granted, worked out from the jobs and leases alone, without the queue under test. */
import type { Token } from '../../common/core/token.ts';
import { isGranting, mayGrant } from '../../coordinator/core/granting.ts';
import type { Job, Ledger, Lease, Node } from '../../coordinator/core/ledger.ts';
import { hasOffer } from '../../coordinator/core/schedule.ts';

/** Ticks in which nothing is asked back although something could be; others may have come between. */
const idleTicksMax = 10;

export class TurnCheck {
  /** Grants while another job of the same priority wanted the node. */
  shared = 0;
  /** Leases that were asked back for a job of a higher priority. */
  preempted = 0;
  /** Looks at which a job waited for its endpoint. */
  waited = 0;
  readonly #fault: (text: string) => void;
  #idleTicks = 0;

  constructor(fault: (text: string) => void) {
    this.#fault = fault;
  }

  /** Right after the grant. `at`: attended milliseconds. */
  granted(ledger: Ledger, token: Token, at: number): void {
    const lease = ledger.leases.get(token.counter);
    const job = lease && ledger.jobs.get(lease.job);
    const node = lease && ledger.nodes.get(lease.node);
    // A second attempt goes to a slot for which there is nothing else.
    if (!lease || !job || !node || (job.holders.get(lease.batch)?.length ?? 0) > 1) return;
    const held = leasesByOwner(ledger);
    const own = (held.get(job.origin.owner) ?? 1) - 1;
    for (const other of ledger.jobs.values()) {
      if (other === job || other.origin.priority < job.origin.priority || !wants(ledger, other, node, at)) continue;
      const { owner, priority } = other.origin;
      if (priority > job.origin.priority) {
        this.#fault(`${node.name} was granted work of ${job.name} while ${other.name} goes first`);
      } else if ((held.get(owner) ?? 0) < own) {
        this.#fault(`${node.name} was granted work of ${job.name}, whose owner has more than that of ${other.name}`);
      } else this.shared += 1;
    }
  }

  /** After each command. */
  looked(ledger: Ledger): void {
    const begun = new Map<string, number>();
    for (const { origin, rowsOf, state, total } of ledger.jobs.values()) {
      if (origin.endpoint === null || rowsOf !== null) continue;
      if (state === 'Preparing' && total > 0) this.waited += 1;
      if (state === 'Running' || state === 'Finalizing')
        begun.set(origin.endpoint, (begun.get(origin.endpoint) ?? 0) + 1);
    }
    for (const [endpoint, count] of begun) {
      const max = ledger.registry.endpoint(endpoint)?.concurrencyMax ?? null;
      if (max !== null && count > max) this.#fault(`${count} jobs of endpoint ${endpoint} run, ${max} may`);
    }
  }

  recalled(ledger: Ledger, token: Token): void {
    if (ledger.leases.get(token.counter)?.isPreempted === true) this.preempted += 1;
  }

  /** After each tick: what could be taken over is soon asked back. `at`: attended milliseconds. */
  ticked(ledger: Ledger, at: number): void {
    this.#idleTicks = isIdle(ledger, at) ? this.#idleTicks + 1 : 0;
    if (this.#idleTicks > idleTicksMax) this.#fault('work of a lower priority stays where a higher one wants to go');
  }
}

function isIdle(ledger: Ledger, at: number): boolean {
  if (!mayGrant(ledger, at)) return false;
  const leases = [...ledger.leases.values()];
  if (leases.some(({ isPreempted, startedAt }) => isPreempted && startedAt === null)) return false;
  return leases.some((lease) => {
    const job = ledger.jobs.get(lease.job);
    const node = ledger.nodes.get(lease.node);
    if (!job || !node?.isConnected || node.state !== 'ready' || !isQueued(lease)) return false;
    return [...ledger.jobs.values()].some(
      (other) =>
        other.origin.priority > job.origin.priority &&
        other.deployment.settings.concurrencyPerInstanceMax === null &&
        wants(ledger, other, node, at),
    );
  });
}

function isQueued({ startedAt, recalledAt, placed }: Lease): boolean {
  return startedAt === null && recalledAt === null && placed === null;
}

function wants(ledger: Ledger, job: Job, node: Node, at: number): boolean {
  return isGranting(ledger, job) && !job.pending.isEmpty && hasOffer(ledger, job, node, at);
}

function leasesByOwner(ledger: Ledger): ReadonlyMap<string, number> {
  const held = new Map<string, number>();
  for (const { job } of ledger.leases.values()) {
    const owner = ledger.jobs.get(job)?.origin.owner ?? '';
    held.set(owner, (held.get(owner) ?? 0) + 1);
  }
  return held;
}
