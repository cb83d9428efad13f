/** Requests on connections that the coordinator has ended meanwhile. */
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { makeSecureFetch } from '../../cli/secure-fetch.ts';
import { Authority } from '../../common/security/authority.ts';

it('asks anew what changes nothing, when an idle connection ends just as it is used again', async () => {
  const authority = await Authority.of(await Authority.make(Date.now()));
  const server = createServer(await authority.issueServer(['localhost'], Date.now()));
  const asked: string[] = [];
  const seen = new WeakSet();
  server.on('request', (request, response) => {
    asked.push(`${request.method}${seen.has(request.socket) ? ' again' : ''}`);
    // The second request of a connection finds it gone.
    if (seen.has(request.socket)) return void request.socket.destroy();
    seen.add(request.socket);
    response.end('answer');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    const ask = makeSecureFetch(authority.cert);
    for (let time = 0; time < 2; time += 1) expect(await (await ask(url, {})).text()).toBe('answer');
    expect(asked).toEqual(['GET', 'GET again', 'GET']);
    // What may have been done already is not done again.
    await expect(ask(url, { method: 'POST', body: '{}' })).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(asked).toHaveLength(4);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
