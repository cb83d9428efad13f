/**
 * Requests to a coordinator whose certificate the cluster's authority has signed: fetch knows none but the system's. Node's own
 * HTTPS client, and no fetch behind it: one of those takes longer to load than a short command takes.
 */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request, type RequestOptions } from 'node:https';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { limits } from '../common/core/limits.ts';
import { errnoOf } from '../common/io/errno.ts';
import { coordinatorName } from '../common/security/server-identity.ts';
import type { Answer, Ask } from './connection.ts';

/**
 * `ca`: PEM; null: the system's. `connectMsMax`: what takes longer to be reached is left, with UND_ERR_CONNECT_TIMEOUT; null: the
 * system decides. What it gives rejects as Node's HTTPS does; redirections are not followed.
 */
export function makeSecureFetch(ca: string | null, connectMsMax: number | null = null): Ask {
  const trust = ca === null ? {} : { ca, servername: coordinatorName };
  const agent = new Agent({ keepAlive: true, ...trust });
  return async (url, init) => await ask(url, { agent, connectMsMax }, init);
}

interface Way {
  readonly agent: Agent;
  readonly connectMsMax: number | null;
}

function ask(url: string, way: Way, init: Parameters<Ask>[1]): Promise<Answer> {
  const { method = 'GET', headers, body, signal } = init;
  // A text of known length goes in one piece with its headers.
  const length = typeof body === 'string' ? { 'content-length': String(Buffer.byteLength(body)) } : {};
  const sent = { ...headers, ...length };
  const options: RequestOptions = { agent: way.agent, method, headers: sent, ...(signal && { signal }) };
  return new Promise((resolve, reject) => {
    let isAnswered = false;
    const asked = request(url, options, (answer) => {
      isAnswered = true;
      // Whoever has answered in full listens to no more: what is left of the body is not sent.
      answer.once('end', () => asked.writableFinished || asked.destroy());
      if (method !== 'HEAD') return resolve(answerOf(url, answer));
      // Nobody reads the body that it has not, and a connection whose answer is not read keeps the command from ending.
      answer.once('end', () => resolve(answerOf(url, answer))).resume();
    });
    asked.on('error', (error) => {
      // The other side may end a connection that was idle just as it is used again. What changes nothing is asked anew; whoever reads
      // an answer is told there of what breaks after its beginning.
      const wasIdle = !isAnswered && asked.reusedSocket && errnoOf(error) === 'ECONNRESET';
      if (wasIdle && ['GET', 'HEAD'].includes(method)) resolve(ask(url, way, init));
      else reject(error);
    });
    if (way.connectMsMax !== null) limitConnecting(asked, way.connectMsMax);
    asked.setTimeout(limits.clientSilenceMsMax, () => asked.destroy(silence()));
    if (body === undefined || typeof body === 'string') return void asked.end(body);
    const bytes = Readable.from(body);
    bytes.on('error', (error) => asked.destroy(error));
    asked.on('close', () => bytes.destroy());
    bytes.pipe(asked);
  });
}

/** A machine that is gone and a process that stands still are alike: no handshake. Nothing has been asked then. */
function limitConnecting(asked: ClientRequest, ms: number): void {
  asked.once('socket', (socket) => {
    if (!socket.connecting) return;
    const late = setTimeout(() => asked.destroy(unconnected(ms)), ms);
    const stop = (): void => clearTimeout(late);
    socket.once('secureConnect', stop);
    asked.once('close', stop);
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

function unconnected(ms: number): Error {
  return Object.assign(new Error(`no connection within ${ms / 1_000} s`), { code: 'UND_ERR_CONNECT_TIMEOUT' });
}
