/** The one place where credentials of connections are made. */
import { credentials, ServerCredentials, type ChannelCredentials } from '@grpc/grpc-js';

/** Of a worker node's connections. */
export function clientCredentials(): ChannelCredentials {
  return credentials.createInsecure();
}

/** Of the coordinator's server. */
export function serverCredentials(): ServerCredentials {
  return ServerCredentials.createInsecure();
}
