/** Requests to a coordinator: HTTPS with its authority and a token, or HTTP where it was started with `--insecure`. */
import { formatAddress, type Address } from '../common/config/address.ts';
import { BatchError } from '../common/core/batch-error.ts';
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

/** Resolves with an answer that is no refusal; of a HEAD also with what is not there. @throws what {@link createClient} throws */
export type Send = (url: string, init?: RequestInit) => Promise<Response>;

export interface OpenConnection {
  /** What URLs begin with. */
  readonly origin: string;
  readonly send: Send;
}

export function openConnection(connection: Connection): OpenConnection {
  const { server, others = [], token, isInsecure } = connection;
  const ask = isInsecure ? fetch : secureFetch(connection);
  // In the clear a token would be anybody's.
  const shown: Readonly<Record<string, string>> =
    token === null || isInsecure ? {} : { authorization: `Bearer ${token}` };
  const origin = `${isInsecure ? 'http' : 'https'}://${formatAddress(server)}`;
  const send: Send = async (url, init = {}) => {
    const headers = { ...(init.headers as Readonly<Record<string, string>> | undefined), ...shown };
    const reply = await ask(url, { ...init, headers }).catch((error: unknown) => {
      throw init.signal?.aborted ? error : unreachableError(url, error);
    });
    if (reply.ok || (init.method === 'HEAD' && reply.status === 404)) return reply;
    const problem = problemReply.safeParse(await reply.json().catch(() => null));
    if (!problem.success) throw strangerError(url, `it answers ${reply.status} ${reply.statusText}`);
    const { code, detail, info } = problem.data;
    throw BatchError.fromFailure({ code, message: detail, detail: info ?? '' });
  };
  if (others.length === 0) return { origin, send };
  const servers = [server, ...others];
  return { origin, send: sendToLeader({ servers, origin, send, clock: systemClock, delay, random: systemRandom }) };
}

function secureFetch({ ca }: Connection): typeof fetch {
  let loaded: Promise<typeof fetch> | null = null;
  const load = async (): Promise<typeof fetch> => (await import('./secure-fetch.ts')).makeSecureFetch(ca);
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
