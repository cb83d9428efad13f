/** Tokens, certificates of worker nodes, secrets and the audit log over HTTP. All of it is for admins, see access-rules.ts. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { limits } from '../../common/core/limits.ts';
import type { AuditLine } from '../access/audit-log.ts';
import type { SecretView } from '../access/secrets.ts';
import type { CertificateResource, TokenResource } from '../core/resources.ts';
import { callerOf, roles } from './caller.ts';
import { about, answers, listOf, named, pageOf, typed, wholeNumber } from './typed-route.ts';

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
  secrets(): readonly SecretView[];
  /** @throws REQUEST_INVALID */
  setSecret(name: string, value: string): Promise<SecretView>;
  /** @throws SECRET_NOT_FOUND */
  removeSecret(name: string): Promise<void>;
  readAudit(limit: number, before: string | null): Promise<readonly AuditLine[]>;
}

const time = z.string().meta({ format: 'date-time' });

const tokenSchema = z
  .object({
    id: z.string(),
    user: z.string(),
    role: z.enum([...roles, 'join']).describe('join: worker nodes get their certificate with it, and nothing else'),
    created_at: time,
    created_by: z.string(),
    expires_at: time,
    last_used_at: time.nullable().describe('since the coordinator was started'),
    uses_left: z.int().nullable().describe('null: any number'),
  })
  .meta({ id: 'Token' });
type TokenView = z.infer<typeof tokenSchema>;

const madeSchema = tokenSchema.extend({ token: z.string().describe('shown this once') }).meta({ id: 'NewToken' });
const joinSchema = madeSchema
  .extend({ join: z.string().describe('the line that a worker node joins with') })
  .meta({ id: 'NewJoinToken' });

const certificateSchema = z
  .object({ serial: z.string(), node: z.string(), created_at: time, expires_at: time, revoked_at: time.nullable() })
  .meta({ id: 'NodeCertificate' });
type CertificateView = z.infer<typeof certificateSchema>;

const secretSchema = z.object({ name: z.string(), changed_at: time }).meta({ id: 'Secret' });

const auditSchema = z
  .object({
    time,
    user: z.string().nullable().describe('null: nobody that is known'),
    token_id: z.string().nullable(),
    remote: z.string().nullable(),
    method: z.string(),
    path: z.string(),
    resource: z.string().nullable(),
    status: z.int(),
    left_out: z.int().optional().describe('refusals of strangers before this one that were too many to keep'),
  })
  .meta({ id: 'AuditEntry' });

const ttl = (max: number, usual: number): z.ZodDefault<z.ZodNumber> =>
  z
    .number()
    .positive()
    .max(max / 1_000)
    .default(usual / 1_000);

const tokenBody = z.strictObject({
  user: z.string().regex(/^[\w.@+-]{1,128}$/, 'letters, digits and . _ @ + -, at most 128'),
  role: z.enum(roles),
  ttl_seconds: ttl(limits.tokenMsMax, limits.tokenMs),
});

const joinTokenBody = z.strictObject({
  ttl_seconds: ttl(limits.tokenMsMax, limits.joinTokenMs),
  uses: z.int().min(1).max(limits.tokensMax).optional(),
});

const auditQuery = z.strictObject({
  limit: wholeNumber({ min: 1, max: limits.auditEntriesMax }).default(100),
  cursor: z.string().max(64).optional().describe('time of the entry before'),
});

export function accessRoutes(server: FastifyInstance, access: AccessBackend): void {
  tokenRoutes(server, access);
  nodeRoutes(server, access);
  secretRoutes(server, access);
  typed(server).get(
    '/v1/audit',
    {
      schema: {
        ...about('listAudit', 'admin', 'Who did what', 'What changed something or was refused, newest first.'),
        ...{ querystring: auditQuery, response: answers({ 200: pageOf(auditSchema) }) },
      },
    },
    async ({ query: { limit, cursor } }) => {
      const value = await access.readAudit(limit, cursor ?? null);
      return { value, next: value.length < limit ? null : (value.at(-1)?.time ?? null) };
    },
  );
}

function tokenRoutes(server: FastifyInstance, access: AccessBackend): void {
  const app = typed(server);
  app.post(
    '/v1/tokens',
    {
      schema: {
        ...about('createToken', 'admin', 'Makes a bearer token', 'It is shown in this answer and never again.'),
        ...{ body: tokenBody, response: answers({ 201: madeSchema }) },
      },
    },
    async (request, reply) => {
      const { user, role, ttl_seconds: seconds } = request.body;
      const wanted = { user, role, ttlMs: Math.round(seconds * 1_000), uses: null, createdBy: callerOf(request).user };
      const { secret, token } = await access.makeToken(wanted);
      return reply.code(201).send({ ...tokenView(token, null), token: secret });
    },
  );
  app.get(
    '/v1/tokens',
    {
      schema: {
        ...about('listTokens', 'admin', 'Tokens, the oldest first'),
        response: answers({ 200: listOf(tokenSchema) }),
      },
    },
    async () => ({ value: access.listTokens().map(({ token, lastUsedMs }) => tokenView(token, lastUsedMs)) }),
  );
  app.delete(
    '/v1/tokens/:name',
    {
      schema: {
        ...about('revokeToken', 'admin', 'Revokes a token, by its id'),
        params: named,
        response: answers({ 204: z.null() }),
      },
    },
    async ({ params }, reply) => {
      await access.revokeToken(params.name);
      return reply.code(204).send(null);
    },
  );
}

function nodeRoutes(server: FastifyInstance, access: AccessBackend): void {
  const app = typed(server);
  app.post(
    '/v1/nodes/tokens',
    {
      schema: {
        ...about('createJoinToken', 'admin', 'Makes a token for worker nodes to join with'),
        ...{ body: joinTokenBody, response: answers({ 201: joinSchema }) },
      },
    },
    async (request, reply) => {
      const { ttl_seconds: seconds, uses = null } = request.body;
      const { user } = callerOf(request);
      const wanted = { user, role: 'join', ttlMs: Math.round(seconds * 1_000), uses, createdBy: user } as const;
      const { secret, token } = await access.makeToken(wanted);
      return reply.code(201).send({ ...tokenView(token, null), token: secret, join: access.joinLine(secret) });
    },
  );
  app.get(
    '/v1/nodes/certificates',
    {
      schema: {
        ...about('listNodeCertificates', 'admin', 'Certificates of worker nodes, the oldest first'),
        ...{ response: answers({ 200: listOf(certificateSchema) }) },
      },
    },
    async () => ({ value: access.certificates().map(certificateView) }),
  );
  app.post(
    '/v1/nodes/:name/revoke',
    {
      schema: {
        ...about(
          'revokeNode',
          'admin',
          'Shuts a worker node out',
          'Its connections end, and all join tokens with them.',
        ),
        ...{ params: named, response: answers({ 200: listOf(certificateSchema) }) },
      },
    },
    async ({ params }) => {
      await access.revokeNode(params.name);
      const own = access.certificates().filter(({ node }) => node === params.name);
      return { value: own.map(certificateView) };
    },
  );
}

function secretRoutes(server: FastifyInstance, access: AccessBackend): void {
  const app = typed(server);
  app.put(
    '/v1/secrets/:name',
    {
      schema: {
        ...about('setSecret', 'admin', 'Keeps a secret for deployments to refer to', 'Its value is never given back.'),
        ...{ params: named, body: z.strictObject({ value: z.string() }), response: answers({ 200: secretSchema }) },
      },
    },
    async ({ params, body }) => secretView(await access.setSecret(params.name, body.value)),
  );
  app.get(
    '/v1/secrets',
    {
      schema: {
        ...about('listSecrets', 'admin', 'Names of secrets'),
        response: answers({ 200: listOf(secretSchema) }),
      },
    },
    async () => ({ value: access.secrets().map(secretView) }),
  );
  app.delete(
    '/v1/secrets/:name',
    {
      schema: {
        ...about('removeSecret', 'admin', 'Forgets a secret'),
        params: named,
        response: answers({ 204: z.null() }),
      },
    },
    async ({ params }, reply) => {
      await access.removeSecret(params.name);
      return reply.code(204).send(null);
    },
  );
}

function secretView({ name, changedMs }: SecretView): z.infer<typeof secretSchema> {
  return { name, changed_at: timeOf(changedMs) };
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
