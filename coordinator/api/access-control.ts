/**
 * Who asks, whether he may, how often, and a line about it in the audit log: the hooks that stand before every route. The
 * token is looked at first, then how much that caller asks, then what he may: a refusal costs as little as it can.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { AuditLog } from '../access/audit-log.ts';
import type { Tokens } from '../access/tokens.ts';
import { actsOnJob, mayDo, roleFor } from './access-rules.ts';
import { callerOf, type Caller } from './caller.ts';

export interface AccessControlOptions {
  /** Null: whoever reaches the port is an admin. */
  readonly tokens: Tokens | null;
  readonly audit: AuditLog | null;
  /** The job that callers mean by a name, a unique beginning of one or `last`. @throws JOB_NOT_FOUND */
  readonly ownerOf: OwnerOf;
}

type OwnerOf = (job: string) => { readonly name: string; readonly owner: string };

declare module 'fastify' {
  interface FastifyRequest {
    /** Of the token that was shown. */
    tokenId?: string;
    /** Known also when the connection has ended. */
    peerAddress?: string;
    /** Why nobody is known to ask. */
    refusal?: BatchError;
    /** Of what goes on after it was allowed. @throws TOKEN_INVALID when the token that was shown is not what it was */
    stillMay?: () => void;
  }
}

export async function controlAccess(app: FastifyInstance, options: AccessControlOptions): Promise<void> {
  const { tokens, audit, ownerOf } = options;
  app.addHook('onRequest', async (request) => {
    request.peerAddress = request.ip;
    if (tokens) identify(request, tokens);
  });
  await app.register(rateLimit, {
    hook: 'onRequest',
    max: limits.apiRequestsMax,
    timeWindow: limits.apiRequestsWindowMs,
    cache: limits.apiRatedCallersMax,
    keyGenerator: (request) => request.tokenId ?? `address ${request.ip}`,
    errorResponseBuilder: (_request, { ttl }) =>
      new BatchError('TOO_MANY_REQUESTS', `more than ${limits.apiRequestsMax} requests; ask again in ${ttl} ms`),
    // Those who are known are told what they may; strangers are told nothing of how we count.
    addHeaders: { 'x-ratelimit-limit': false, 'x-ratelimit-remaining': false, 'x-ratelimit-reset': false },
  });
  if (tokens) {
    app.addHook('preParsing', async (request) => {
      requireRole(request, ownerOf);
    });
    // The caller decides how long after the headers the body is there: what was so then may not be so any more.
    app.addHook('preHandler', async (request) => {
      identify(request, tokens);
      requireRole(request, ownerOf);
    });
  }
  if (audit) app.addHook('onResponse', async (request, reply) => auditRequest(audit, request, reply));
}

/** @throws FORBIDDEN unless the caller is the owner, or an admin */
export function requireOwner(request: FastifyRequest, owner: string, what: string): void {
  const caller = callerOf(request);
  if (caller.role === 'admin' || caller.user === owner) return;
  throw new BatchError('FORBIDDEN', `${what} is ${owner}'s, and ${caller.user} is no admin`);
}

function identify(request: FastifyRequest, tokens: Tokens): void {
  delete request.caller;
  delete request.refusal;
  const header = request.headers.authorization ?? '';
  const [, secret] = /^bearer +(\S+)$/i.exec(header) ?? [];
  try {
    if (secret === undefined) {
      const how = 'send `Authorization: Bearer TOKEN`; `batchmill token create` makes one';
      throw new BatchError(
        'TOKEN_INVALID',
        `${header === '' ? 'no token was sent' : 'no bearer token was sent'}: ${how}`,
      );
    }
    const { name, user, role } = tokens.check(secret);
    if (role === 'join') throw new BatchError('TOKEN_INVALID', `token ${name} is for worker nodes to join with`);
    request.caller = { user, role } satisfies Caller;
    request.tokenId = name;
    request.stillMay = () => void tokens.check(secret);
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
    request.refusal = error;
  }
}

function requireRole(request: FastifyRequest, ownerOf: OwnerOf): void {
  const route = request.is404 ? null : (request.routeOptions.url ?? null);
  const need = roleFor(request.method, route);
  if (need === 'open') return;
  if (!request.caller) throw request.refusal ?? new BatchError('TOKEN_INVALID', 'no token was sent');
  const { user, role } = request.caller;
  if (!mayDo(role, need)) {
    const what = `${request.method} ${route ?? ''}`;
    throw new BatchError('FORBIDDEN', `${what} needs the role ${need}, and the token of ${user} has ${role}`);
  }
  const params = request.params as { name?: string };
  if (route !== null && params.name !== undefined && role !== 'admin' && actsOnJob(request.method, route)) {
    const { name, owner } = ownerOf(params.name);
    requireOwner(request, owner, `job ${name}`);
    // What is looked at is what is acted upon: `last` may be another one's when the body is there.
    params.name = name;
  }
}

function auditRequest(
  audit: AuditLog,
  request: FastifyRequest,
  reply: { readonly statusCode: number; getHeader(name: string): unknown },
): void {
  const { statusCode: status } = reply;
  const isRefused = status === 401 || status === 403 || status === 429;
  const isLooking = request.method === 'GET' || request.method === 'HEAD';
  if (isLooking && !isRefused) return;
  const user = request.refusal ? null : callerOf(request).user;
  const made = reply.getHeader('location');
  audit.record({
    user,
    tokenId: request.tokenId ?? null,
    remote: request.peerAddress ?? null,
    method: request.method,
    // Without the query: what is asked there may be anything.
    path: request.url.split('?')[0] ?? '',
    resource: typeof made === 'string' ? made.replace(/^\/v1\//, '') : resourceOf(request),
    status,
  });
}

/** `jobs/digits-1` of `/v1/jobs/:name/cancel`; null where the route names nothing. */
function resourceOf(request: FastifyRequest): string | null {
  const parts = (request.routeOptions.url ?? '').split('/').slice(2);
  const last = parts.findLastIndex((part) => part.startsWith(':'));
  if (last < 0) return null;
  const params = request.params as Readonly<Record<string, string>>;
  return parts
    .slice(0, last + 1)
    .map((part) => (part.startsWith(':') ? (params[part.slice(1)] ?? '') : part))
    .join('/')
    .slice(0, limits.auditPathCharsMax);
}
