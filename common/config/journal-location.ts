/** Where a coordinator keeps the second copy of its journal. */
import { BatchError } from '../core/batch-error.ts';
import { formatAddress, parseAddress } from './address.ts';

export interface JournalLocation {
  /** `host:port` of NATS servers, any of which will do. */
  readonly servers: readonly string[];
  /** Of the cluster: letters, digits, `-` and `_`. */
  readonly name: string;
  /** Servers that keep each record, when the stream is made. */
  readonly replicas: number;
}

/** `nats://HOST:PORT[,HOST:PORT…][/NAME][?replicas=N]`; three replicas where three servers are named. @throws USAGE */
export function parseJournalLocation(text: string, what: string): JournalLocation {
  const [, hosts, name = 'default', count] =
    /^nats:\/\/([^/?]+)(?:\/([\w-]{1,64}))?\/?(?:\?replicas=([135]))?$/.exec(text.trim()) ?? [];
  if (hosts === undefined) {
    throw new BatchError(
      'USAGE',
      `${what}: wanted nats://HOST:PORT[,HOST:PORT…][/NAME][?replicas=1|3|5], found ${JSON.stringify(text)}`,
    );
  }
  const servers = hosts.split(',').map((host) => formatAddress(parseAddress(host, what)));
  return { servers, name, replicas: Number(count ?? (servers.length >= 3 ? 3 : 1)) };
}
