/** Until when certificates of worker nodes are good. Pure. */
import type { Ledger } from '../core/ledger.ts';
import type { CertificateResource } from '../core/resources.ts';

/** Of each worker node the one that lasts longest: a renewal leaves the one before to its end. Revoked ones are none. */
export function lastingCertificates(ledger: Ledger): ReadonlyMap<string, CertificateResource> {
  const lasting = new Map<string, CertificateResource>();
  for (const { resource } of ledger.registry.ofKind('certificate')) {
    const known = lasting.get(resource.node);
    if (resource.revokedMs === null && (known?.expiresMs ?? 0) < resource.expiresMs) {
      lasting.set(resource.node, resource);
    }
  }
  return lasting;
}

/** When the first of the worker nodes that are connected will have none; null: no node with one is connected. */
export function firstNodeEndMs(ledger: Ledger): number | null {
  const lasting = lastingCertificates(ledger);
  let first: number | null = null;
  for (const { name, isConnected } of ledger.nodes.values()) {
    const endsMs = isConnected ? (lasting.get(name)?.expiresMs ?? null) : null;
    if (endsMs !== null && (first === null || endsMs < first)) first = endsMs;
  }
  return first;
}
