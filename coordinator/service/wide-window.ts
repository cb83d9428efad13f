/**
 * A gRPC server that lets its peers have more than 64 KiB under way. The library has an option for that at its clients only; with HTTP/2's default a
 * stream stands still once in each round trip, and every 32 KiB are answered with a message of their own.
 */
import type { Http2Server, ServerHttp2Session } from 'node:http2';
import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { limits } from '../../common/core/limits.ts';
import { serverOptions } from '../../common/rpc/channel-options.ts';

/** What the library has for itself. `test/unit/wide-window.test.ts` tells when that is not so any more. */
interface ServerInside {
  commonServerOptions: { settings?: object };
  createHttp2Server(credentials: ServerCredentials): Http2Server;
}

export function wideServer(): Server {
  const server = new Server(serverOptions);
  const inside = server as unknown as ServerInside;
  const create = inside.createHttp2Server.bind(server);
  inside.commonServerOptions.settings = {
    ...inside.commonServerOptions.settings,
    initialWindowSize: limits.receiveWindowBytes,
  };
  inside.createHttp2Server = (credentials) =>
    create(credentials).on('session', (session: ServerHttp2Session) =>
      session.setLocalWindowSize(limits.receiveWindowBytes),
    );
  return server;
}
