/** Addresses that programs listen on and connect to. */
import { BatchError } from '../core/batch-error.ts';

export interface Address {
  /** A name or an IP address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** `127.0.0.1:7077`, `host:7077`, `[::1]:7077`; without a host it is loopback. `what` begins the message. @throws USAGE */
export function parseAddress(text: string, what: string): Address {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-f:.]+)\]|([^\s:/[\]]*)):(\d{1,5})$/i.exec(text.trim()) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) {
    throw new BatchError('USAGE', `${what}: wanted HOST:PORT such as 127.0.0.1:7077, found ${JSON.stringify(text)}`);
  }
  return { host: bracketed || plain || '127.0.0.1', port };
}

/** Those of a cluster's coordinators, any of which may lead: `a:7077,b:7077`. At least one. @throws USAGE */
export function parseAddresses(text: string, what: string): readonly [Address, ...Address[]] {
  const [first = '', ...others] = text.split(',');
  return [parseAddress(first, what), ...others.map((one) => parseAddress(one, what))];
}

/** The inverse of {@link parseAddress}. */
export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** True for names and addresses that never leave this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
