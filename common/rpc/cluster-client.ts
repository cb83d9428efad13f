/** A connection to a coordinator: the one place where clients are made. */
import { Metadata, type ChannelOptions } from '@grpc/grpc-js';
import { clientOptions } from './channel-options.ts';
import { coordinatorName } from '../security/server-identity.ts';
import { clientCredentials, plainTrust, type ClusterTrust } from './credentials.ts';
import type { ClusterClient } from './generated/batchmill/v1/Cluster.ts';
import { sessionKey } from './grpc-error.ts';
import { clusterService } from './load-cluster.ts';

/** `address`: `host:port`, or `unix:` and a path. Nothing is sent before the first call. */
export function connectCluster(
  address: string,
  trust: ClusterTrust = plainTrust,
  more: ChannelOptions = {},
): ClusterClient {
  const Client = clusterService();
  // The certificate is the coordinator's under this name, whatever address leads to it.
  const named = trust.kind === 'tls' ? { 'grpc.ssl_target_name_override': coordinatorName } : {};
  return new Client(address, clientCredentials(trust), { ...clientOptions, ...more, ...named });
}

/** What every call after Join carries. */
export function sessionMetadata(session: string): Metadata {
  const metadata = new Metadata();
  metadata.set(sessionKey, session);
  return metadata;
}
