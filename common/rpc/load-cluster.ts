/** The `Cluster` service as grpc-js wants it, read from proto/ when first asked for. */
import { makeClientConstructor, type MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { invariant } from '../core/invariant.ts';
import { packageFile } from '../io/package-files.ts';
import type { ProtoGrpcType } from './generated/cluster.ts';

/** The client's constructor, whose `service` is what a server is given. */
export type ClusterService = ProtoGrpcType['batchmill']['v1']['Cluster'];

/** The same as scripts/build.mjs gives the type generator: a decoded message has exactly the generated shape. */
const shape = { longs: Number, defaults: true, arrays: true, objects: true };

let loaded: ClusterService | undefined;

export function clusterService(): ClusterService {
  loaded ??= load();
  return loaded;
}

function load(): ClusterService {
  const root = new protobuf.Root();
  root.resolvePath = (_from, path) => packageFile('proto', path);
  root.loadSync('batchmill/v1/cluster.proto').resolveAll();
  const service = root.lookupService('batchmill.v1.Cluster');
  const methods = service.methodsArray.map((method) => [method.name, definitionOf(method)] as const);
  // The one place where untyped definitions meet their generated types.
  return makeClientConstructor(Object.fromEntries(methods), service.name) as unknown as ClusterService;
}

function definitionOf(method: protobuf.Method): MethodDefinition<object, object> {
  const { resolvedRequestType: request, resolvedResponseType: response } = method;
  invariant(request !== null && response !== null, `${method.name} has messages that are not in proto/`);
  return {
    path: `/batchmill.v1.Cluster/${method.name}`,
    originalName: method.name.charAt(0).toLowerCase() + method.name.slice(1),
    requestStream: method.requestStream === true,
    responseStream: method.responseStream === true,
    ...{ requestSerialize: writerOf(request), requestDeserialize: readerOf(request) },
    ...{ responseSerialize: writerOf(response), responseDeserialize: readerOf(response) },
  };
}

/**
 * Straight from what translate-*.ts has made, which is of the generated shape: a message of the library's own, made from it
 * first, would be a copy of everything. What is bytes has been encoded already.
 */
function writerOf(type: protobuf.Type): (message: object) => Buffer {
  return (message) => (Buffer.isBuffer(message) ? message : (type.encode(message).finish() as Buffer));
}

function readerOf(type: protobuf.Type): (bytes: Buffer) => object {
  return (bytes) => type.toObject(type.decode(bytes), shape);
}
