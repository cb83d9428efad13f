/**
 * What operators do to worker nodes by name. It is kept as a resource, so that it holds after a restart of the coordinator, and
 * for whoever joins under the name.
 *
 *   cordon      nothing new is granted, what it holds goes on            ends with uncordon
 *   drain       cordoned; scores what runs, gives the rest back, leaves  ends with uncordon, for the next process of the name
 *   quarantine  nothing new is granted, what it holds is taken back      ends with release
 *   label       what computes choose it by, over what it joined with
 *
 * The quarantine of a sick node, of one job, is `sick-nodes.ts`'s; release ends both.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { unreachable } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import type { Command } from './commands.ts';
import type { Event } from './events.ts';
import type { Ledger, Lease, Node } from './ledger.ts';
import { noteOf } from './node-notes.ts';
import { nodeKey, type NodeResource } from './resources.ts';
import { releaseEvents } from './sick-nodes.ts';

export type NodeOrder =
  | { readonly kind: 'cordon' }
  | { readonly kind: 'uncordon' }
  /** Null: it takes as long as what runs does. */
  | { readonly kind: 'drain'; readonly untilWallMs: number | null }
  | { readonly kind: 'quarantine'; readonly reason: string }
  | { readonly kind: 'release' }
  /** Those that are named change; null takes one away. */
  | { readonly kind: 'label'; readonly labels: Readonly<Record<string, string | null>> };

type OrderCommand = Extract<Command, { kind: 'order-node' }>;

/** @throws RESOURCE_NOT_FOUND, REQUEST_INVALID */
export function orderNode(ledger: Ledger, command: OrderCommand): readonly Event[] {
  const { node: name, order, by, wallMs } = command;
  const before = noteOf(ledger, name);
  requireKnown(ledger, name, before);
  const node = ledger.nodes.get(name);
  const note = before ?? blank(name, by, wallMs);
  switch (order.kind) {
    case 'cordon':
      return noted(ledger, before, { ...note, isCordoned: true });
    case 'uncordon':
      return noted(ledger, before, { ...note, isCordoned: false, drain: null });
    case 'drain': {
      const { incarnation } = requireHere(name, node);
      return noted(ledger, before, {
        ...note,
        isCordoned: true,
        drain: { incarnation, untilWallMs: order.untilWallMs },
      });
    }
    case 'quarantine':
      return [...noted(ledger, before, { ...note, quarantine: order.reason }), ...takenBack(ledger, node)];
    case 'release':
      return release(ledger, name, before);
    case 'label':
      return noted(ledger, before, { ...note, labels: changed(note.labels, order.labels, node) });
    default:
      return unreachable(order);
  }
}

function blank(name: NodeName, createdBy: string, createdMs: number): NodeResource {
  const nothing = { isCordoned: false, quarantine: null, labels: {}, drain: null };
  return { kind: 'node', name, ...nothing, createdMs, createdBy };
}

/** A name that says nothing any more is forgotten. */
function noted(ledger: Ledger, before: NodeResource | undefined, note: NodeResource): readonly Event[] {
  if (before && JSON.stringify(before) === JSON.stringify(note)) return [];
  const { isCordoned, quarantine, labels, drain } = note;
  const isBlank = !isCordoned && quarantine === null && drain === null && Object.keys(labels).length === 0;
  if (isBlank) return before ? [{ kind: 'ResourceRemoved', key: nodeKey(note.name) }] : [];
  if (!before) requireRoom(ledger);
  return [{ kind: 'ResourcePut', resource: note }];
}

function release(ledger: Ledger, name: NodeName, before: NodeResource | undefined): readonly Event[] {
  const own = before && before.quarantine !== null ? noted(ledger, before, { ...before, quarantine: null }) : [];
  const events = [...own, ...releaseEvents(ledger, name, null)];
  if (events.length > 0) return events;
  const isCordoned = before?.isCordoned === true ? ' but cordoned: `batchmill node uncordon` gives it work again' : '';
  const message = `worker node ${name} is not quarantined${isCordoned}; \`batchmill node list\` shows those that are`;
  throw new BatchError('REQUEST_INVALID', message);
}

/** A result that is being written stays: it was made before. */
function takenBack(ledger: Ledger, node: Node | undefined): readonly Event[] {
  const events: Event[] = [];
  for (const counter of node?.leases ?? []) {
    const { job, batch, node: name, token, placed } = ledger.leases.get(counter) as Lease;
    if (!placed) events.push({ kind: 'LeaseReleased', job, batch, node: name, token, isRevoked: true });
  }
  return events;
}

/** What is as the node has it by itself need not be kept. */
function changed(
  before: NodeResource['labels'],
  wanted: NodeResource['labels'],
  node: Node | undefined,
): NodeResource['labels'] {
  const own = node?.ownLabels;
  const entries = Object.entries({ ...before, ...wanted });
  const labels = Object.fromEntries(entries.filter(([key, value]) => !own || (own[key] ?? null) !== value));
  if (Object.keys(labels).length <= limits.nodeLabelsMax) return labels;
  throw new BatchError('REQUEST_INVALID', `a worker node takes ${limits.nodeLabelsMax} labels, these are more`);
}

function requireKnown(ledger: Ledger, name: NodeName, note: NodeResource | undefined): void {
  if (note || ledger.nodes.has(name) || ledger.known.has(name)) return;
  if ([...ledger.jobs.values()].some(({ sick }) => sick.has(name))) return;
  const message = `no worker node ${name} has joined; \`batchmill node list\` shows those that have`;
  throw new BatchError('RESOURCE_NOT_FOUND', message);
}

function requireHere(name: NodeName, node: Node | undefined): Node {
  if (node && node.state !== 'gone') return node;
  const message = `worker node ${name} is not here, so that there is nothing to drain; \`batchmill node cordon ${name}\` keeps work from it when it joins`;
  throw new BatchError('REQUEST_INVALID', message);
}

function requireRoom({ registry }: Ledger): void {
  if (registry.ofKind('node').length < limits.nodeNotesMax) return;
  const message = `${limits.nodeNotesMax} worker nodes are cordoned, quarantined or labelled by hand; uncordon or release some that are gone`;
  throw new BatchError('REQUEST_INVALID', message);
}
