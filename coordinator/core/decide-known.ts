/**
 * Which nodes a restart waits for. The journal has a small record when a node may hold leases and when it no longer does, so
 * that after a crash grants are held exactly until all of them have said what they hold, and for no more than a grace.
 */
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Event } from './events.ts';
import type { Ledger } from './ledger.ts';

/** `ledger` as it was replayed, before the new epoch. `at`: attended milliseconds. */
export function holdEvents(ledger: Ledger, at: number): readonly Event[] {
  const hasWork = [...ledger.jobs.values()].some((job) => !isFinal(job.state));
  const awaited = ledger.tellsNodes ? [...ledger.known] : null;
  if (awaited === null ? !hasWork : awaited.length === 0) return [];
  return [{ kind: 'GrantsHeld', until: at + limits.restartGraceMs, awaited }];
}

/** Whether grants wait for nodes that may hold leases. */
export function isHeld(ledger: Ledger, at: number): boolean {
  return at < ledger.grantFrom && (ledger.awaited === null || ledger.awaited.size > 0);
}

/** Those that have not come back within the grace are not waited for again. */
export function graceEvents(ledger: Ledger, at: number): readonly Event[] {
  if (ledger.awaited === null || at < ledger.grantFrom) return [];
  return [...ledger.awaited].map((node) => ({ kind: 'NodeUnknown', node }) as const);
}

/** The node is there and may be granted leases from now on. */
export function knownEvents(ledger: Ledger, node: NodeName): readonly Event[] {
  return ledger.known.has(node) ? [] : [{ kind: 'NodeKnown', node }];
}

/** Whatever the node holds is nothing any more. */
export function unknownEvents(ledger: Ledger, node: NodeName): readonly Event[] {
  return ledger.known.has(node) ? [{ kind: 'NodeUnknown', node }] : [];
}
