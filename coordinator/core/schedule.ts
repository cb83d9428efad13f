/** Who gets what next. */
import { isHeld } from './decide-known.ts';
import { attended, type Job, type Ledger, type Node } from './ledger.ts';
import type { Event } from './events.ts';

/**
 * The next lease to grant, or undefined when nothing fits. Jobs in order of submission, each from the head of its input
 * order; nodes in turn, so that the first one does not take all.
 */
export function nextGrant(ledger: Ledger, now: number): Event | undefined {
  if (ledger.hungry.size === 0 || ledger.runnable.size === 0) return undefined;
  const at = attended(ledger, now);
  if (isHeld(ledger, at)) return undefined;
  for (const name of ledger.runnable) {
    const job = ledger.jobs.get(name);
    const batch = job?.pending.peek();
    if (!job || batch === undefined) continue;
    for (const nodeName of ledger.hungry) {
      const node = ledger.nodes.get(nodeName);
      if (!node || !isAllowed(job, node)) continue;
      const token = { epoch: ledger.epoch, counter: ledger.grants + 1 };
      return { kind: 'LeaseGranted', job: name, batch, node: nodeName, token, at };
    }
  }
  return undefined;
}

/** @source Azure ML batch: instance_count is a cap on the nodes of a job */
function isAllowed(job: Job, node: Node): boolean {
  const cap = job.deployment.settings.instanceCountMax;
  return cap === null || job.nodes.has(node.name) || job.nodes.size < cap;
}
