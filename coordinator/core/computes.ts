/**
 * Named sets of worker nodes: a job that names one is granted only to nodes that have all its labels, to at most `maxInstances` of
 * them at a time over all its jobs, and only while at least `minInstances` of them are there. A name that is not registered means
 * all nodes: deployment files name clusters that are not ours. Labels that a job itself requires narrow them down.
 * @source Azure ML: `compute` of a deployment, minimum and maximum instances of a cluster
 */
import type { NodeName } from '../../common/core/ids.ts';
import type { JobOrigin } from '../../common/core/job-origin.ts';
import { countDown, countUp } from './counts.ts';
import { isAtWork, type Job, type Ledger, type Node } from './ledger.ts';
import { namedKey, type ComputeResource } from './resources.ts';

/** Which worker nodes a job is for: those of its compute that have all the labels that it requires. */
export type ForNodes = Pick<JobOrigin, 'compute' | 'require'>;

/** Undefined: the job is for all nodes. */
export function computeOf({ registry }: Ledger, name: string | null): ComputeResource | undefined {
  if (name === null) return undefined;
  return registry.get(namedKey('compute', name))?.resource as ComputeResource | undefined;
}

export function hasLabels({ labels }: Pick<Node, 'labels'>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}

/** Whether the node may be granted work of jobs for these, as far as that goes. */
export function isOneOf(ledger: Ledger, { compute: name, require }: ForNodes, node: Node): boolean {
  if (require && !hasLabels(node, require)) return false;
  const compute = computeOf(ledger, name);
  if (!compute) return true;
  const used = ledger.computeNodes.get(keyOf(compute.name));
  const isWithin = compute.maxInstances === null || (used?.size ?? 0) < compute.maxInstances || used?.has(node.name);
  return isWithin === true && hasLabels(node, compute.labels);
}

/** Whether any of the nodes that want work may be granted work of jobs for these. */
export function isServed(ledger: Ledger, nodes: ForNodes): boolean {
  const compute = computeOf(ledger, nodes.compute);
  if (!compute && !nodes.require) return true;
  if (compute && compute.minInstances > 0 && readyNodes(ledger, compute.labels) < compute.minInstances) return false;
  for (const nodeName of ledger.hungry) {
    const node = ledger.nodes.get(nodeName);
    if (node && isOneOf(ledger, nodes, node)) return true;
  }
  return false;
}

/** Why no node is granted work of jobs for these; null when one may be. */
export function wantOfNodes(ledger: Ledger, { compute: name, require }: ForNodes): string | null {
  const compute = computeOf(ledger, name);
  const ready = compute ? readyNodes(ledger, compute.labels) : ledger.ready.nodes;
  if (compute && ready === 0) {
    return `no worker node of compute ${compute.name} is connected; start one with \`batchmill worker join ${labelFlags(compute.labels)}\``;
  }
  if (compute && ready < compute.minInstances) {
    return `compute ${compute.name} has ${ready} of the ${compute.minInstances} worker nodes that it needs at least (min_instances)`;
  }
  if (!require || ready === 0) return null;
  if (readyNodes(ledger, { ...compute?.labels, ...require }) > 0 && !contradict(compute?.labels ?? {}, require))
    return null;
  const of = compute ? ` of compute ${compute.name}` : '';
  return (
    `no worker node${of} that is connected has the labels that this job requires (${labelsText(require)}); \`batchmill node show NAME\` ` +
    `says those of one, \`batchmill worker join ${labelFlags(require)}\` starts one with them`
  );
}

/** Labels that no node has together. */
export function contradict(some: Readonly<Record<string, string>>, others: Readonly<Record<string, string>>): boolean {
  return Object.entries(others).some(([key, value]) => (some[key] ?? value) !== value);
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
}

function labelFlags(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `--label ${key}=${value}`)
    .join(' ');
}

function readyNodes(ledger: Ledger, labels: Readonly<Record<string, string>>): number {
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
