/** What worker nodes do to the ledger: who is there, who was heard, who wants work. Called by `evolve` alone. */
import type { NodeName } from '../../common/core/ids.ts';
import type { EventOf } from './events.ts';
import { isAtWork, nodeOf, type Ledger, type NodeState } from './ledger.ts';
import { labelsWith, noteOf } from './node-notes.ts';

export function nodeJoined(ledger: Ledger, event: EventOf<'NodeJoined'>): void {
  const known = ledger.nodes.get(event.node);
  const { leavesInMs = null } = event;
  const endsAt = leavesInMs === null ? null : event.at + ledger.stallMs + leavesInMs;
  const endsWallMs = leavesInMs === null ? null : event.wallMs + leavesInMs;
  if (known?.incarnation === event.incarnation) {
    known.heardAt = event.at;
    known.endsAt = endsAt;
    known.endsWallMs = endsWallMs;
    return;
  }
  ledger.nodes.set(event.node, {
    name: event.node,
    incarnation: event.incarnation,
    slots: event.slots,
    ownLabels: event.labels,
    labels: event.labels,
    isHeldBack: false,
    endsAt,
    endsWallMs,
    staysMs: leavesInMs ?? Number.POSITIVE_INFINITY,
    hostname: event.hostname,
    pid: event.pid,
    joinedWallMs: event.wallMs,
    state: 'ready',
    isConnected: false,
    credit: 0,
    heardAt: event.at,
    connectedAt: event.at,
    heartbeatGapMsMax: 0,
    lastHeartbeatAt: null,
    leases: new Set(),
    preparations: new Map(),
  });
  nodeOrdered(ledger, event.node);
}

/** What operators say of it is as the registry has it now. */
export function nodeOrdered(ledger: Ledger, name: string): void {
  const node = ledger.nodes.get(name as NodeName);
  if (!node) return;
  const order = noteOf(ledger, node.name);
  node.labels = labelsWith(node.ownLabels, order?.labels ?? {});
  node.isHeldBack = order !== undefined && (order.isCordoned || order.quarantine !== null);
  countReady(ledger);
  setCredit(ledger, node.name, node.credit);
}

export function nodeConnected(ledger: Ledger, event: EventOf<'NodeConnected'>): void {
  const node = nodeOf(ledger, event.node);
  ledger.awaited?.delete(event.node);
  node.isConnected = true;
  node.state = 'ready';
  node.heardAt = event.at;
  node.connectedAt = event.at;
  node.lastHeartbeatAt = null;
  countReady(ledger);
  setCredit(ledger, event.node, 0);
}

export function nodePrepares(ledger: Ledger, { node, job, text }: EventOf<'NodePrepares'>): void {
  const { preparations } = nodeOf(ledger, node);
  if (text === '') preparations.delete(job);
  else preparations.set(job, text);
}

/** What it was about to prepare it says anew when it comes back. */
export function nodeDisconnected(ledger: Ledger, event: EventOf<'NodeDisconnected'>): void {
  const node = nodeOf(ledger, event.node);
  node.isConnected = false;
  node.heardAt = event.at;
  node.preparations.clear();
  countReady(ledger);
  setCredit(ledger, event.node, 0);
}

export function nodeHeard(ledger: Ledger, event: EventOf<'NodeHeard'>): void {
  const node = nodeOf(ledger, event.node);
  if (node.lastHeartbeatAt !== null) {
    node.heartbeatGapMsMax = Math.max(node.heartbeatGapMsMax, event.clock - node.lastHeartbeatAt);
  }
  node.lastHeartbeatAt = event.clock;
  node.heardAt = event.at;
  if (node.state === 'suspect' || node.state === 'lost') setNodeState(ledger, node.name, 'ready');
}

/** Credit stays: a node that comes back has not forgotten what it asked for. */
export function setNodeState(ledger: Ledger, name: NodeName, state: NodeState): void {
  const node = nodeOf(ledger, name);
  node.state = state;
  countReady(ledger);
  setCredit(ledger, name, node.credit);
}

function countReady(ledger: Ledger): void {
  let [nodes, slots] = [0, 0];
  for (const node of ledger.nodes.values()) {
    if (!isAtWork(node)) continue;
    nodes += 1;
    slots += node.slots;
  }
  ledger.ready = { nodes, slots };
}

export function setCredit(ledger: Ledger, name: NodeName, credit: number): void {
  const node = nodeOf(ledger, name);
  node.credit = Math.max(0, credit);
  // Taken out and put back at the end: nodes are served in turn.
  ledger.hungry.delete(name);
  if (node.credit > 0 && isAtWork(node)) ledger.hungry.add(name);
}
