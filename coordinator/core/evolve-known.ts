/** What the ledger knows of nodes across a restart. Called by `evolve` alone. */
import type { EventOf } from './events.ts';
import type { Ledger } from './ledger.ts';

export function nodeUnknown(ledger: Ledger, { node }: EventOf<'NodeUnknown'>): void {
  ledger.known.delete(node);
  ledger.awaited?.delete(node);
}

export function grantsHeld(ledger: Ledger, { until, awaited }: EventOf<'GrantsHeld'>): void {
  ledger.grantFrom = until;
  ledger.awaited = awaited === null ? null : new Set(awaited);
}
