/** Who gets what next. */
import type { NodeName } from '../../common/core/ids.ts';
import { attended, type Job, type Ledger, type Node } from './ledger.ts';
import type { Event } from './events.ts';
import { mayGrant } from './granting.ts';
import { isWithinWindow } from './staging-window.ts';

/**
 * The next lease to grant, or undefined when nothing fits. Jobs in order of submission, each from the head of its input
 * order; nodes in turn, so that the first one does not take all. A mini-batch that failed on a node, or was taken back
 * from it, is for others as long as there are any.
 */
export function nextGrant(ledger: Ledger, now: number): Event | undefined {
  if (ledger.hungry.size === 0 || ledger.runnable.size === 0) return undefined;
  const at = attended(ledger, now);
  if (!mayGrant(ledger, at)) return undefined;
  for (const name of ledger.runnable) {
    const job = ledger.jobs.get(name);
    if (!job) continue;
    for (const nodeName of ledger.hungry) {
      const node = ledger.nodes.get(nodeName);
      if (!node || !isAllowed(job, node)) continue;
      const batch = batchFor(ledger, job, nodeName, at);
      if (batch === undefined || !isWithinWindow(ledger, job, batch)) continue;
      const token = { epoch: ledger.epoch, counter: ledger.grants + 1 };
      return { kind: 'LeaseGranted', job: name, batch, node: nodeName, token, at };
    }
  }
  return undefined;
}

function batchFor(ledger: Ledger, job: Job, node: NodeName, at: number): number | undefined {
  const head = job.pending.peek();
  if (head === undefined || job.avoided.size === 0 || !isAvoided(ledger, job, head, node, at)) return head;
  return job.pending.find((batch) => !isAvoided(ledger, job, batch, node, at));
}

function isAvoided(ledger: Ledger, job: Job, batch: number, name: NodeName, at: number): boolean {
  const avoided = job.avoided.get(batch);
  if (avoided?.node !== name || at >= avoided.until) return false;
  for (const node of ledger.nodes.values()) {
    if (node.name !== name && node.isConnected && node.state === 'ready' && isAllowed(job, node)) return true;
  }
  return false;
}

/** @source Azure ML batch: instance_count is a cap on the nodes of a job */
export function isAllowed(job: Job, node: Node): boolean {
  if (job.sick.has(node.name)) return false;
  const cap = job.deployment.settings.instanceCountMax;
  return cap === null || job.nodes.has(node.name) || job.nodes.size < cap;
}
