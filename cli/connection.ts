/** Requests to a coordinator: HTTPS with its authority and a token, or HTTP where it was started with `--insecure`. */
import { formatAddress, type Address } from '../common/config/address.ts';
import { BatchError } from '../common/core/batch-error.ts';
import type { ErrorCode } from '../common/core/error-codes.ts';
import { limits } from '../common/core/limits.ts';
import { parseJson } from '../common/core/parse-json.ts';
import { systemClock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { systemRandom } from '../common/io/random.ts';
import { sendToLeader } from './leader-search.ts';
import { problemReply } from './replies.ts';

/** Which coordinator, and who asks; a context of the user's is one. */
export interface Connection {
  readonly server: Address;
  /** Of coordinators that may lead instead; default: none. */
  readonly others?: readonly Address[];
  /** Certificate of the authority that signs the server's, PEM; null: those that the system trusts. */
  readonly ca: string | null;
  /** Bearer token; null: none is shown. */
  readonly token: string | null;
  /** Plain HTTP. */
  readonly isInsecure: boolean;
}

/** What is read of an answer; that of fetch is one. */
export interface Answer {
  readonly ok: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
  text(): Promise<string>;
  json(): Promise<unknown>;
}

interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** What a request says; bytes are read anew each time that it is sent. */
export interface Asked extends Question {
  readonly body?: string | (() => AsyncIterable<Uint8Array>);
}

/** What is sent once; `duplex` is for fetch, where the body is a stream. */
export interface Sent extends Question {
  readonly body?: string | ReadableStream<Uint8Array>;
  readonly duplex?: 'half';
}

/** Resolves with any answer. */
export type Ask = (url: string, sent: Sent) => Promise<Answer>;

/** Resolves with an answer that is no refusal; of a HEAD also with what is not there. @throws what {@link createClient} throws */
export type Send = (url: string, asked?: Asked) => Promise<Answer>;

export interface OpenConnection {
  /** What URLs begin with. */
  readonly origin: string;
  readonly send: Send;
}

export function openConnection(connection: Connection): OpenConnection {
  const { server, others = [], token, isInsecure } = connection;
  const ask: Ask = isInsecure ? fetch : secureFetch(connection);
  // In the clear a token would be anybody's.
  const shown: Readonly<Record<string, string>> =
    token === null || isInsecure ? {} : { authorization: `Bearer ${token}` };
  const origin = `${isInsecure ? 'http' : 'https'}://${formatAddress(server)}`;
  const send: Send = async (url, { body, ...init } = {}) => {
    const headers = { ...init.headers, ...shown };
    const reply = await ask(url, { ...init, ...once(body), headers }).catch((error: unknown) => {
      throw init.signal?.aborted ? error : (ownError(error) ?? unreachableError(url, error));
    });
    if (reply.ok || (init.method === 'HEAD' && reply.status === 404)) return reply;
    throw await refusalOf(reply, init.method === 'HEAD');
  };
  if (others.length === 0) return { origin, send };
  const servers = [server, ...others];
  return { origin, send: sendToLeader({ servers, origin, send, clock: systemClock, delay, random: systemRandom }) };
}

function once(body: Asked['body']): Pick<Sent, 'body' | 'duplex'> {
  if (body === undefined) return {};
  return typeof body === 'string' ? { body } : { body: ReadableStream.from(body()), duplex: 'half' };
}

/** What came to pass here while the body was read, and not on the way. */
function ownError(error: unknown): BatchError | null {
  const found = error instanceof Error ? [error, error.cause] : [];
  return found.find((one) => one instanceof BatchError) ?? null;
}

async function refusalOf(reply: Answer, isBare: boolean): Promise<BatchError> {
  const problem = problemReply.safeParse(await textOf(reply).then(parseJson));
  if (problem.success) {
    const { code, detail, info } = problem.data;
    return BatchError.fromFailure({ code, message: detail, detail: info ?? '' });
  }
  const found = `it answers ${reply.status} ${reply.statusText}`;
  // To a HEAD there is no more than the number.
  const code = isBare ? bareCodes[reply.status] : undefined;
  if (code === undefined) return strangerError(reply.url, found);
  return new BatchError(code, `the coordinator at ${new URL(reply.url).host} refuses to say what it has: ${found}`);
}

/** Refusals by their HTTP status alone. */
const bareCodes: Readonly<Record<number, ErrorCode>> = {
  401: 'TOKEN_INVALID',
  403: 'FORBIDDEN',
  429: 'TOO_MANY_REQUESTS',
};

/** The whole body. @throws COORDINATOR_UNREACHABLE when the connection breaks before its end */
async function textOf(reply: Answer): Promise<string> {
  try {
    return await reply.text();
  } catch (error) {
    throw unreachableError(reply.url, error);
  }
}

/** Null where there is no body. @throws COORDINATOR_UNREACHABLE for one that broke off, or is no JSON */
export async function jsonOf(reply: Answer): Promise<unknown> {
  const text = await textOf(reply);
  if (text === '') return null;
  const value = parseJson(text);
  if (value === undefined) throw strangerError(reply.url, 'its answer is no JSON');
  return value;
}

function secureFetch({ ca, others = [] }: Connection): Ask {
  let loaded: Promise<Ask> | null = null;
  // Where another one may lead, one that is not reached is not waited for.
  const connectMsMax = others.length === 0 ? null : limits.leaderSilentMs;
  const load = async (): Promise<Ask> => (await import('./secure-fetch.ts')).makeSecureFetch(ca, connectMsMax);
  return async (url, init) => await (await (loaded ??= load()))(url, init);
}

export function unreachableError(url: string, error: unknown): BatchError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const { host } = new URL(url);
  if (isUntrusted(cause)) {
    return new BatchError(
      'SERVER_UNTRUSTED',
      `what answers at ${host} is not the coordinator of this context (${errnoOf(cause)}): its authority is another one. ` +
        'After a new state directory, `batchmill coordinator start` writes the context anew; elsewhere take it from there',
      { cause: error },
    );
  }
  const isPlain =
    errnoOf(cause) === 'ERR_SSL_WRONG_VERSION_NUMBER' || errnoOf(cause) === 'ERR_SSL_PACKET_LENGTH_TOO_LONG';
  const reason = isPlain ? 'it does not speak TLS: --server http://HOST:PORT' : errnoOf(cause) || reasonOf(cause);
  return new BatchError(
    'COORDINATOR_UNREACHABLE',
    `no answer from the coordinator at ${host} (${reason}). Start one with \`batchmill coordinator start\`, ` +
      'or say where it is with --server HOST:PORT',
    { cause: error },
  );
}

/** What OpenSSL says of certificates that do not lead to the authority that was asked for, or are not the coordinator's. */
const untrustedCodes = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_HAS_EXPIRED',
  'INVALID_PURPOSE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

function isUntrusted(cause: unknown): boolean {
  return untrustedCodes.has(errnoOf(cause));
}

export function strangerError(url: string, found: string): BatchError {
  return new BatchError(
    'COORDINATOR_UNREACHABLE',
    `what answers at ${new URL(url).host} is not the HTTP API of a Batchmill coordinator of this release (${found}). ` +
      'Worker nodes join at --listen (7077), clients talk to --http (7078)',
  );
}
