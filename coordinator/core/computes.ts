/**
 * Named sets of worker nodes: a job that names one is granted only to nodes that have all its labels, to at most `maxInstances` of
 * them at a time over all its jobs, and only while at least `minInstances` of them are there. A name that is not registered means
 * all nodes: deployment files name clusters that are not ours.
 * @source Azure ML: `compute` of a deployment, minimum and maximum instances of a cluster
 */
import type { NodeName } from '../../common/core/ids.ts';
import { countDown, countUp } from './counts.ts';
import { isAtWork, type Job, type Ledger, type Node } from './ledger.ts';
import { namedKey, type ComputeResource } from './resources.ts';

/** Undefined: the job is for all nodes. */
export function computeOf({ registry }: Ledger, name: string | null): ComputeResource | undefined {
  if (name === null) return undefined;
  return registry.get(namedKey('compute', name))?.resource as ComputeResource | undefined;
}

export function hasLabels({ labels }: Pick<Node, 'labels'>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}

/** Whether the node may be granted work of jobs for this compute, as far as that goes. */
export function isOfCompute(ledger: Ledger, name: string | null, node: Node): boolean {
  const compute = computeOf(ledger, name);
  if (!compute) return true;
  const used = ledger.computeNodes.get(keyOf(compute.name));
  const isWithin = compute.maxInstances === null || (used?.size ?? 0) < compute.maxInstances || used?.has(node.name);
  return isWithin === true && hasLabels(node, compute.labels);
}

/** Whether any of the nodes that want work may be granted work of jobs for this compute. */
export function isServed(ledger: Ledger, name: string | null): boolean {
  const compute = computeOf(ledger, name);
  if (!compute) return true;
  if (compute.minInstances > 0 && readyNodes(ledger, compute) < compute.minInstances) return false;
  for (const nodeName of ledger.hungry) {
    const node = ledger.nodes.get(nodeName);
    if (node && isOfCompute(ledger, name, node)) return true;
  }
  return false;
}

/** Why no node is granted work of jobs for this compute; null when one may be. */
export function wantOfNodes(ledger: Ledger, name: string | null): string | null {
  const compute = computeOf(ledger, name);
  if (!compute) return null;
  const ready = readyNodes(ledger, compute);
  const labels = Object.entries(compute.labels).map(([key, value]) => `${key}=${value}`);
  if (ready === 0) {
    return `no worker node of compute ${compute.name} is connected; start one with \`batchmill worker join ${labels.map((label) => `--label ${label}`).join(' ')}\``;
  }
  if (ready >= compute.minInstances) return null;
  return `compute ${compute.name} has ${ready} of the ${compute.minInstances} worker nodes that it needs at least (min_instances)`;
}

function readyNodes(ledger: Ledger, { labels }: ComputeResource): number {
  let count = 0;
  for (const node of ledger.nodes.values()) {
    if (isAtWork(node) && hasLabels(node, labels)) count += 1;
  }
  return count;
}

/** Written by `evolve` alone: the node has a lease more of the job. */
export function noteHeld(ledger: Ledger, { origin: { owner, compute } }: Job, node: NodeName): void {
  countUp(ledger.heldBy, owner);
  if (compute === null) return;
  const key = keyOf(compute);
  const used = ledger.computeNodes.get(key) ?? new Map<NodeName, number>();
  ledger.computeNodes.set(key, used);
  countUp(used, node);
}

/** Written by `evolve` alone: the node has one less. */
export function noteLetGo(ledger: Ledger, { origin: { owner, compute } }: Job, node: NodeName): void {
  countDown(ledger.heldBy, owner);
  if (compute === null) return;
  const used = ledger.computeNodes.get(keyOf(compute));
  if (!used) return;
  countDown(used, node);
  if (used.size === 0) ledger.computeNodes.delete(keyOf(compute));
}

/** Names of computes are matched whatever their case. */
function keyOf(compute: string): string {
  return compute.toLowerCase();
}
