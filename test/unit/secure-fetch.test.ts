/** Requests on connections that the coordinator has ended meanwhile. */
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import type { Ask } from '../../cli/connection.ts';
import { makeSecureFetch } from '../../cli/secure-fetch.ts';
import { Authority } from '../../common/security/authority.ts';

interface Questioned {
  readonly url: string;
  readonly ask: Ask;
  end(): void;
}

async function serve(answer: RequestListener): Promise<Questioned> {
  const authority = await Authority.of(await Authority.make(Date.now()));
  const server = createServer(await authority.issueServer(['localhost'], Date.now()), answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    ask: makeSecureFetch(authority.cert),
    end: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

it('asks anew what changes nothing, when an idle connection ends just as it is used again', async () => {
  const asked: string[] = [];
  const seen = new WeakSet();
  const { url, ask, end } = await serve((request, response) => {
    asked.push(`${request.method}${seen.has(request.socket) ? ' again' : ''}`);
    // The second request of a connection finds it gone.
    if (seen.has(request.socket)) return void request.socket.destroy();
    seen.add(request.socket);
    response.end('answer');
  });
  try {
    for (let time = 0; time < 2; time += 1) expect(await (await ask(url, {})).text()).toBe('answer');
    expect(asked).toEqual(['GET', 'GET again', 'GET']);
    // What may have been done already is not done again.
    await expect(ask(url, { method: 'POST', body: '{}' })).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(asked).toHaveLength(4);
  } finally {
    end();
  }
});

it('asks the next question on the connection of one whose answer has no body', async () => {
  const connections = new Set();
  const { url, ask, end } = await serve((request, response) => {
    connections.add(request.socket);
    response.setHeader('content-length', 6).end();
  });
  try {
    for (let time = 0; time < 3; time += 1) expect((await ask(url, { method: 'HEAD' })).ok).toBe(true);
    expect(connections.size).toBe(1);
  } finally {
    end();
  }
});
