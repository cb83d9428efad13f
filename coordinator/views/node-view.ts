/** Worker nodes as callers see them: those that are there, and those of which operators have said something. */
import type { GpuReading } from '../../common/core/cluster-messages.ts';
import type { NodeName } from '../../common/core/ids.ts';
import type { NodeView } from '../api/backend.ts';
import type { Ledger, Node } from '../core/ledger.ts';
import { labelsWith, noteOf } from '../core/node-notes.ts';
import type { NodeResource } from '../core/resources.ts';
import { isoTime } from './job-view.ts';

/** As their last heartbeats have it. */
export type GpusOfNodes = ReadonlyMap<NodeName, readonly GpuReading[]>;

/** Those that are there first. */
export function nodeViews(ledger: Ledger, gpus: GpusOfNodes = new Map()): readonly NodeView[] {
  const here = [...ledger.nodes.values()];
  const names = new Set<string>(here.map(({ name }) => name));
  const away = ledger.registry.ofKind('node').filter(({ resource }) => !names.has(resource.name));
  return [
    ...here.map((node) => nodeView(ledger, node, gpus.get(node.name) ?? [])),
    ...away.map(({ resource }) => awayNodeView(resource)),
  ];
}

function nodeView(ledger: Ledger, node: Node, gpus: readonly GpuReading[]): NodeView {
  const quarantines: NodeView['quarantines'][number][] = [];
  for (const { name, sick } of ledger.jobs.values()) {
    const found = sick.get(node.name);
    if (found) quarantines.push({ job: name, reason: found.reason.message });
  }
  const state = node.isConnected || node.state !== 'ready' ? node.state : 'suspect';
  const { isCordoned, quarantine } = noteOf(ledger, node.name) ?? { isCordoned: false, quarantine: null };
  return {
    name: node.name,
    state: state === 'ready' && (quarantines.length > 0 || quarantine !== null) ? 'quarantined' : state,
    hostname: node.hostname,
    pid: node.pid,
    slots: node.slots,
    leases: node.leases.size,
    heartbeat_gap_ms_max: Math.round(node.heartbeatGapMsMax),
    joined_at: isoTime(node.joinedWallMs),
    quarantines,
    cordoned: isCordoned,
    quarantine,
    labels: node.labels,
    leaves_at: node.endsWallMs === null ? null : isoTime(node.endsWallMs),
    gpus: gpus.map(({ name, model, usedBytes, totalBytes, busyPercent }) => ({
      ...{ name, model, memory_used_bytes: usedBytes, memory_bytes: totalBytes, busy_percent: busyPercent },
    })),
  };
}

/** Operators have said something of it, and it is not here. */
function awayNodeView({ name, isCordoned, quarantine, labels }: NodeResource): NodeView {
  return {
    ...{ name, state: 'gone', hostname: '', pid: 0, slots: 0, leases: 0, heartbeat_gap_ms_max: 0, joined_at: null },
    ...{ quarantines: [], cordoned: isCordoned, quarantine, labels: labelsWith({}, labels), leaves_at: null },
    gpus: [],
  };
}
