/** The one place where credentials of connections are made. */
import { credentials, ServerCredentials, type ChannelCredentials } from '@grpc/grpc-js';

/** How a worker node knows the coordinator, and how it is known there. */
export type ClusterTrust =
  /** In the clear: a unix socket, or a coordinator that was started with `--insecure`. */
  | { readonly kind: 'plain' }
  | {
      readonly kind: 'tls';
      /** Of the cluster's authority, PEM. */
      readonly authority: string;
      /** PEM; null while the node has no certificate. */
      readonly identity: { readonly key: string; readonly cert: string } | null;
    };

export const plainTrust: ClusterTrust = { kind: 'plain' };

/** Of a worker node's connections. */
export function clientCredentials(trust: ClusterTrust): ChannelCredentials {
  if (trust.kind === 'plain') return credentials.createInsecure();
  const { authority, identity } = trust;
  const [key, cert] = identity ? [Buffer.from(identity.key), Buffer.from(identity.cert)] : [null, null];
  return credentials.createSsl(Buffer.from(authority), key, cert);
}

/** Of the coordinator's server where nothing is encrypted, or where that has been done before a connection comes to it. */
export function serverCredentials(): ServerCredentials {
  return ServerCredentials.createInsecure();
}
