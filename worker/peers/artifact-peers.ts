/**
 * Artifacts between worker nodes: asks the coordinator who has one, and tells it what is here. Whatever goes wrong, the
 * coordinator itself still has everything.
 */
import type { Artifact } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { Log } from '../../common/io/log.ts';
import type { ClusterTrust } from '../../common/rpc/credentials.ts';
import type { BulkLink } from '../bulk-link.ts';
import { ArtifactServer } from './artifact-server.ts';
import { PeerSource } from './peer-source.ts';
import { ServedArtifacts } from './served-artifacts.ts';

export interface ArtifactPeersOptions {
  /** Name of this node. */
  readonly self: string;
  /** The present one; null: none. */
  readonly link: () => Pick<BulkLink, 'locate' | 'offer'> | null;
  readonly trust: () => ClusterTrust;
  /** Where others are let in: an address of this machine; null: at all of them. */
  readonly host: string | null;
  readonly random: () => number;
  readonly delay: Delay;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export class ArtifactPeers {
  readonly #options: ArtifactPeersOptions;
  readonly #artifacts = new ServedArtifacts();
  #server: Promise<ArtifactServer> | null = null;

  constructor(options: ArtifactPeersOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => void this.#server?.then((server) => server.close()), { once: true });
  }

  /** Null: it is to be had from the coordinator. `failed`: nodes that it could not be had from. */
  async find(artifact: Artifact, failed: readonly string[]): Promise<PeerSource | null> {
    const { digest, bytes } = artifact;
    const { link, self, trust, random, delay, log, signal } = this.#options;
    if (bytes < limits.artifactSharedBytesMin) return null;
    try {
      for (;;) {
        const { place, waitMs } = (await link()?.locate({ digest, bytes, failed: [...failed] })) ?? {
          place: null,
          waitMs: 0,
        };
        if (place) return new PeerSource({ self, place, artifact: digest, bytes, trust: trust(), signal });
        if (waitMs === 0) return null;
        // Those who wait together are not to ask together.
        await delay(Math.min(waitMs, limits.artifactSpreadMsMin) * (0.5 + random()), signal);
        signal.throwIfAborted();
      }
    } catch (error) {
      signal.throwIfAborted();
      log.debug('no other node is asked for an artifact', { artifact: artifact.name, reason: reasonOf(error) });
      return null;
    }
  }

  /** It is here, whole, at `path`. `listing`: of a folder. Others hear of it by and by. */
  has(artifact: Artifact, path: string, listing: Uint8Array | null): void {
    if (!this.#artifacts.add(artifact, path, listing)) return;
    this.#offer(artifact).catch((error: unknown) => {
      const reason = reasonOf(error);
      this.#options.log.debug('an artifact is not offered to other nodes', { artifact: artifact.name, reason });
    });
  }

  async #offer({ digest }: Artifact): Promise<void> {
    const { trust, host, signal, link } = this.#options;
    this.#server ??= ArtifactServer.start({ artifacts: this.#artifacts, trust: trust(), host });
    const server = await this.#server;
    if (signal.aborted) return server.close();
    server.renew(trust());
    await link()?.offer({ digest, port: server.port, key: server.key });
  }
}
