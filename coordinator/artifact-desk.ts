/** Sends worker nodes that want an artifact to others that have it: places and tickets; who goes where is the core's. */
import { isIPv4 } from 'node:net';
import { BatchError } from '../common/core/batch-error.ts';
import type { digest } from '../common/core/ids.ts';
import { nodeName, type NodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import { artifactTicket } from '../common/security/artifact-ticket.ts';
import { isDigest } from '../common/storage/artifact-listing.ts';
import { ArtifactSpread } from './core/artifact-spread.ts';

export interface LocateRequest {
  readonly digest: string;
  readonly bytes: number;
  readonly failed: readonly string[];
}

export interface OfferRequest {
  readonly digest: string;
  readonly port: number;
  readonly key: Uint8Array;
}

export interface LocateReply {
  /** Another node that has it; null: it is to be had from the coordinator, or later. */
  readonly place: {
    readonly node: string;
    readonly host: string;
    readonly port: number;
    readonly ticket: string;
  } | null;
  /** Ask again after so many milliseconds; 0: take it. */
  readonly waitMs: number;
}

interface Door {
  readonly host: string;
  readonly port: number;
  readonly key: Uint8Array;
}

export class ArtifactDesk {
  readonly #clock: Clock;
  readonly #spread = new ArtifactSpread();
  readonly #doors = new Map<NodeName, Door>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws BatchError REQUEST_INVALID */
  locate(node: NodeName, { digest: of, bytes, failed }: LocateRequest): LocateReply {
    const wish = { node, digest: requireDigest(of), bytes, failed: failed.map(nodeName) };
    const choice = this.#spread.choose(wish, this.#clock.monotonic());
    const waitMs = choice.from === 'later' ? choice.waitMs : 0;
    const door = choice.from === 'node' ? this.#doors.get(choice.node) : undefined;
    if (choice.from !== 'node' || !door) return { place: null, waitMs };
    const { host, port, key } = door;
    return { place: { node: choice.node, host, port, ticket: artifactTicket(key, of, node) }, waitMs };
  }

  /** `peer`: address of the node's connection, where others find it; empty: unknown, and nobody is sent. @throws BatchError REQUEST_INVALID */
  offer(node: NodeName, { digest: of, port, key }: OfferRequest, peer: string): void {
    const host = hostOf(peer);
    const isSound = port > 0 && port < 65_536 && key.length === limits.artifactKeyBytes;
    if (!isSound)
      throw new BatchError('REQUEST_INVALID', `wanted a port and a key of ${limits.artifactKeyBytes} bytes`);
    const known = requireDigest(of);
    if (host === null) return;
    this.#doors.set(node, { host, port, key });
    this.#spread.offered(node, known);
  }

  forget(node: NodeName): void {
    this.#doors.delete(node);
    this.#spread.forget(node);
  }
}

function requireDigest(text: string): ReturnType<typeof digest> {
  if (isDigest(text)) return text;
  throw new BatchError('REQUEST_INVALID', `wanted a digest, found ${JSON.stringify(text.slice(0, 100))}`);
}

/** `1.2.3.4:567`, `::1:567` and `::ffff:1.2.3.4:567` as connections say it. */
function hostOf(peer: string): string | null {
  const host = peer.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  const mapped = host.replace(/^::ffff:/i, '');
  if (isIPv4(mapped)) return mapped;
  return host.includes(':') ? host : null;
}
