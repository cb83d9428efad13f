/** What the coordinator's server lets its peers have under way. */
import { connect, type Settings } from 'node:http2';
import { once } from 'node:events';
import { ServerCredentials } from '@grpc/grpc-js';
import { expect, test, vi } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { wideServer } from '../../coordinator/service/wide-window.ts';

test('each connection and each stream of a wide server may have a window of the limit under way', async () => {
  const server = wideServer();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const [settings] = (await once(session, 'remoteSettings')) as [Settings];
    expect(settings.initialWindowSize).toBe(limits.receiveWindowBytes);
    await vi.waitFor(() => expect(session.state.remoteWindowSize).toBe(limits.receiveWindowBytes));
  } finally {
    session.destroy();
    server.forceShutdown();
  }
});
