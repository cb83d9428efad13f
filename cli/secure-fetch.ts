/**
 * Requests to a coordinator whose certificate the cluster's authority has signed: fetch knows none but the system's. Node's own
 * HTTPS client, and no fetch behind it: one of those takes longer to load than a short command takes.
 */
import type { IncomingMessage } from 'node:http';
import { Agent, request, type RequestOptions } from 'node:https';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { limits } from '../common/core/limits.ts';
import { errnoOf } from '../common/io/errno.ts';
import { coordinatorName } from '../common/security/server-identity.ts';
import type { Answer, Ask } from './connection.ts';

/** `ca`: PEM; null: the system's. What it gives rejects as Node's HTTPS does; redirections are not followed. */
export function makeSecureFetch(ca: string | null): Ask {
  const trust = ca === null ? {} : { ca, servername: coordinatorName };
  const agent = new Agent({ keepAlive: true, ...trust });
  return async (url, init) => await ask(url, agent, init);
}

function ask(url: string, agent: Agent, init: Parameters<Ask>[1]): Promise<Answer> {
  const { method = 'GET', headers, body, signal } = init;
  // A text of known length goes in one piece with its headers.
  const length = typeof body === 'string' ? { 'content-length': String(Buffer.byteLength(body)) } : {};
  const sent = { ...headers, ...length };
  const options: RequestOptions = { agent, method, headers: sent, ...(signal && { signal }) };
  return new Promise((resolve, reject) => {
    const asked = request(url, options, (answer) => {
      if (method !== 'HEAD') return resolve(answerOf(url, answer));
      // Nobody reads the body that it has not, and a connection whose answer is not read keeps the command from ending.
      answer.once('end', () => resolve(answerOf(url, answer))).resume();
    });
    asked.on('error', (error) => {
      // The other side may end a connection that was idle just as it is used again. What changes nothing is asked anew.
      const wasIdle = asked.reusedSocket && errnoOf(error) === 'ECONNRESET';
      if (wasIdle && ['GET', 'HEAD'].includes(method)) resolve(ask(url, agent, init));
      else reject(error);
    });
    asked.setTimeout(limits.clientSilenceMsMax, () => asked.destroy(silence()));
    if (body === undefined || typeof body === 'string') return void asked.end(body);
    const bytes = Readable.from(body);
    bytes.on('error', (error) => asked.destroy(error));
    // Who has answered before the end listens to no more of it.
    asked.on('close', () => bytes.destroy());
    bytes.pipe(asked);
  });
}

function answerOf(url: string, message: IncomingMessage): Answer {
  const { statusCode: status = 0, statusMessage: statusText = '', headers } = message;
  const whole = async (): Promise<string> => await text(message);
  return {
    ok: status >= 200 && status < 300,
    ...{ status, statusText, url },
    headers: { get: (name) => [headers[name.toLowerCase()] ?? null].flat()[0] ?? null },
    body: message,
    text: whole,
    json: async () => JSON.parse(await whole()) as unknown,
  };
}

function silence(): Error {
  return new Error(`nothing came from it for ${limits.clientSilenceMsMax / 1_000} s`);
}
