/** Requests on connections that the coordinator has ended meanwhile. */
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import { createServer as createStillServer, type AddressInfo, type Socket } from 'node:net';
import { expect, it, vi } from 'vitest';
import type { Ask } from '../../cli/connection.ts';
import { makeSecureFetch } from '../../cli/secure-fetch.ts';
import { Authority } from '../../common/security/authority.ts';

interface Questioned {
  readonly url: string;
  readonly ask: Ask;
  /** Of every connection, as a machine does that has begun anew. */
  reset(): void;
  end(): void;
}

async function serve(answer: RequestListener): Promise<Questioned> {
  const authority = await Authority.of(await Authority.make(Date.now()));
  const server = createServer(await authority.issueServer(['localhost'], Date.now()), answer);
  const connections: Socket[] = [];
  server.on('connection', (socket: Socket) => connections.push(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    reset: () => connections.forEach((socket) => socket.resetAndDestroy()),
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

it('tells whoever reads an answer that the connection broke, and asks nothing again', async () => {
  const asked: string[] = [];
  const { url, ask, reset, end } = await serve((request, response) => {
    asked.push(String(request.method));
    if (asked.length === 2) response.setHeader('content-length', 1_000).write('the begin');
    else response.end('answer');
  });
  try {
    await (await ask(url, {})).text();
    // On the connection of the first.
    const { body } = await ask(url, {});
    const pieces = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    await pieces.next();
    reset();
    await expect(pieces.next()).rejects.toMatchObject({ code: 'ECONNRESET' });
    await ask(url, { method: 'HEAD' });
    expect(asked).toEqual(['GET', 'GET', 'HEAD']);
  } finally {
    end();
  }
});

it('leaves what accepts a connection and never begins to talk, and says that nothing was asked', async () => {
  const still = createStillServer().listen(0, '127.0.0.1');
  await once(still, 'listening');
  const sockets: Socket[] = [];
  still.on('connection', (socket) => sockets.push(socket));
  try {
    const url = `https://127.0.0.1:${(still.address() as AddressInfo).port}/`;
    const asked = makeSecureFetch(null, 50)(url, { method: 'POST', body: '{}' });
    await expect(asked).rejects.toMatchObject({ code: 'UND_ERR_CONNECT_TIMEOUT' });
    expect(sockets).toHaveLength(1);
  } finally {
    sockets.forEach((socket) => socket.destroy());
    still.close();
  }
});

it('an upload ends with the answer, whether it was refused at the door or half way', async () => {
  const refusal = '{"code":"FORBIDDEN"}';
  const { url, ask, end } = await serve((request, response) => {
    const refuse = (): void => void response.writeHead(403, { 'content-length': refusal.length }).end(refusal);
    if (request.url === '/door') refuse();
    else request.once('data', refuse);
  });
  try {
    for (const at of ['door', 'half']) {
      let isOpen = true;
      // Nothing but the answer ends it.
      async function* bytes(): AsyncGenerator<Uint8Array> {
        try {
          while (isOpen) yield await new Promise<Uint8Array>((resolve) => setImmediate(resolve, Buffer.alloc(65_536)));
        } finally {
          isOpen = false;
        }
      }
      const answer = await ask(url + at, { method: 'POST', body: ReadableStream.from(bytes()) });
      expect([answer.status, await answer.text()]).toEqual([403, refusal]);
      await vi.waitFor(() => expect(isOpen).toBe(false));
    }
  } finally {
    end();
  }
});
