/** The line with which a worker node joins, as people copy it to another machine. */
import { hostname } from 'node:os';
import { formatAddress, type Address } from '../../common/config/address.ts';

/** `secret` null: no token is asked for; `fingerprint` null: the coordinator serves in the clear. */
export function joinLine(listen: Address | null, secret: string | null, fingerprint: string | null): string {
  const where = listen ? formatAddress(reachableAddress(listen)) : 'HOST:PORT';
  const token = secret === null ? '' : ` --token ${secret}`;
  return `batchmill worker join ${where}${token}${fingerprint === null ? ' --insecure' : ` --ca-fingerprint ${fingerprint}`}`;
}

/** Whoever listens on all addresses of a machine is not reached by that name from another one. */
function reachableAddress({ host, port }: Address): Address {
  return { host: host === '0.0.0.0' || host === '::' ? hostname() : host, port };
}
