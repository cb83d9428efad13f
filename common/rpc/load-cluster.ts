/** The `Cluster` service as grpc-js wants it, read from proto/ when first asked for. */
import { loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { packageFile } from '../io/package-files.ts';
import type { ProtoGrpcType } from './generated/cluster.ts';

/** The client's constructor, whose `service` is what a server is given. */
export type ClusterService = ProtoGrpcType['batchmill']['v1']['Cluster'];

let loaded: ClusterService | undefined;

/** The same options as scripts/build.mjs gives the type generator: a decoded message has exactly the generated shape. */
export function clusterService(): ClusterService {
  loaded ??= load();
  return loaded;
}

function load(): ClusterService {
  const definition = loadSync('batchmill/v1/cluster.proto', {
    longs: Number,
    defaults: true,
    arrays: true,
    objects: true,
    includeDirs: [packageFile('proto')],
  });
  // The one place where the untyped package definition meets its generated type.
  return (loadPackageDefinition(definition) as unknown as ProtoGrpcType).batchmill.v1.Cluster;
}
