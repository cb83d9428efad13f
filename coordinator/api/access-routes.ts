/** Tokens, certificates of worker nodes, secrets and the audit log over HTTP. All of it is for admins, see access-rules.ts. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { limits } from '../../common/core/limits.ts';
import type { AuditLine } from '../access/audit-log.ts';
import type { CertificateResource, TokenResource } from '../core/resources.ts';
import { callerOf, roles } from './caller.ts';
import { parse } from './job-request.ts';

export interface TokenView {
  readonly id: string;
  readonly user: string;
  readonly role: TokenResource['role'];
  readonly created_at: string;
  readonly created_by: string;
  readonly expires_at: string;
  /** Since the coordinator was started; null: not. */
  readonly last_used_at: string | null;
  /** Null: any number. */
  readonly uses_left: number | null;
}

export interface CertificateView {
  readonly serial: string;
  readonly node: string;
  readonly created_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
}

/** What the routes ask for. */
export interface AccessBackend {
  makeToken(wanted: {
    readonly user: string;
    readonly role: TokenResource['role'];
    readonly ttlMs: number;
    readonly uses: number | null;
    readonly createdBy: string;
  }): Promise<{ readonly secret: string; readonly token: TokenResource }>;
  listTokens(): readonly { readonly token: TokenResource; readonly lastUsedMs: number | null }[];
  /** @throws RESOURCE_NOT_FOUND */
  revokeToken(id: string): Promise<void>;
  /** The line that a worker node joins with, for a secret. */
  joinLine(secret: string): string;
  certificates(): readonly CertificateResource[];
  /** Its connections end. @throws RESOURCE_NOT_FOUND */
  revokeNode(node: string): Promise<void>;
  readAudit(limit: number, before: string | null): Promise<readonly AuditLine[]>;
}

const tokenBody = z.strictObject({
  user: z.string().regex(/^[\w.@+-]{1,128}$/, 'letters, digits and . _ @ + -, at most 128'),
  role: z.enum(roles),
  ttl_seconds: z
    .number()
    .positive()
    .max(limits.tokenMsMax / 1_000)
    .default(limits.tokenMs / 1_000),
});

const joinTokenBody = z.strictObject({
  ttl_seconds: z
    .number()
    .positive()
    .max(limits.tokenMsMax / 1_000)
    .default(limits.joinTokenMs / 1_000),
  uses: z.int().min(1).max(limits.tokensMax).optional(),
});

const auditQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(limits.auditEntriesMax).default(100),
  before: z.string().max(64).optional(),
});

export function accessRoutes(app: FastifyInstance, access: AccessBackend): void {
  app.post('/v1/tokens', async (request, reply) => {
    const { user, role, ttl_seconds: ttl } = parse(tokenBody, request.body ?? {}, '');
    const wanted = { user, role, ttlMs: Math.round(ttl * 1_000), uses: null, createdBy: callerOf(request).user };
    const { secret, token } = await access.makeToken(wanted);
    return reply.code(201).send({ ...tokenView(token, null), token: secret });
  });
  app.get('/v1/tokens', async () => ({
    value: access.listTokens().map(({ token, lastUsedMs }) => tokenView(token, lastUsedMs)),
  }));
  app.delete<{ Params: { id: string } }>('/v1/tokens/:id', async (request, reply) => {
    await access.revokeToken(request.params.id);
    return reply.code(204).send();
  });
  app.post('/v1/nodes/tokens', async (request, reply) => {
    const { ttl_seconds: ttl, uses } = parse(joinTokenBody, request.body ?? {}, '');
    const { user } = callerOf(request);
    const wanted = { user, role: 'join', ttlMs: Math.round(ttl * 1_000), uses: uses ?? null, createdBy: user } as const;
    const { secret, token } = await access.makeToken(wanted);
    return reply.code(201).send({ ...tokenView(token, null), token: secret, join: access.joinLine(secret) });
  });
  app.get('/v1/nodes/certificates', async () => ({ value: access.certificates().map(certificateView) }));
  app.post<{ Params: { name: string } }>('/v1/nodes/:name/revoke', async (request, reply) => {
    await access.revokeNode(request.params.name);
    const own = access.certificates().filter(({ node }) => node === request.params.name);
    return reply.send({ value: own.map(certificateView) });
  });
  app.get('/v1/audit', async (request) => {
    const { limit, before } = parse(auditQuery, request.query, '');
    const value = await access.readAudit(limit, before ?? null);
    return { value, next: value.length < limit ? null : (value.at(-1)?.time ?? null) };
  });
}

function tokenView(token: TokenResource, lastUsedMs: number | null): TokenView {
  return {
    id: token.name,
    user: token.user,
    role: token.role,
    created_at: timeOf(token.createdMs),
    created_by: token.createdBy,
    expires_at: timeOf(token.expiresMs),
    last_used_at: lastUsedMs === null ? null : timeOf(lastUsedMs),
    uses_left: token.usesLeft,
  };
}

function certificateView({ name, node, createdMs, expiresMs, revokedMs }: CertificateResource): CertificateView {
  return {
    serial: name,
    node,
    created_at: timeOf(createdMs),
    expires_at: timeOf(expiresMs),
    revoked_at: revokedMs === null ? null : timeOf(revokedMs),
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
