/** Assets, uploads, and what operators set up, over HTTP. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { callerOf } from './caller.ts';
import { sealedArtifact } from './job-request.ts';
import type { AssetKind, Removal, RegistryBackend, SetUpKind, SetUpViews, Tagged } from './registry-backend.ts';
import {
  assetBody,
  assetSchemas,
  allocationBody,
  computeBody,
  computeSchema,
  demandSchema,
  datastoreBody,
  datastoreSchema,
  serverSchema,
} from './registry-schemas.ts';
import { about, answers, bytesAnswer, flag, listOf, named, typed } from './typed-route.ts';

const kinds = { models: 'model', data: 'data', environments: 'environment' } as const satisfies Record<
  string,
  AssetKind
>;
const versionParams = z.object({ name: z.string(), version: z.string() });
/** Of what jobs may need. */
export const force: z.ZodObject<{ force: z.ZodOptional<typeof flag> }> = z.object({
  force: flag.optional().describe('also while jobs of it have not ended'),
});

export function registryRoutes(server: FastifyInstance, registry: RegistryBackend): void {
  const app = typed(server);
  app.get(
    '/v1/server',
    { schema: { ...about('getServer', 'server', 'The coordinator'), response: answers({ 200: serverSchema }) } },
    async () => registry.server(),
  );
  uploadRoutes(server, registry);
  for (const [folder, kind] of Object.entries(kinds)) assetRoutes(server, registry, folder, kind);
  setUpRoutes(server, registry);
}

const uploadQuery = z.object({
  kind: z.enum(['file', 'folder']).describe('a folder comes as a tar stream'),
  name: z
    .string()
    .min(1)
    .max(255)
    .refine((name) => !/[/\\\0]/.test(name) && name !== '.' && name !== '..', 'wanted a plain file name'),
});

function uploadRoutes(server: FastifyInstance, registry: RegistryBackend): void {
  const app = typed(server);
  app.head(
    '/v1/artifacts/:digest',
    {
      schema: {
        ...about('hasArtifact', 'assets', 'Whether an upload is there already'),
        ...{ params: z.object({ digest: z.string() }), response: answers({ 200: bytesAnswer('it is', 'text/plain') }) },
      },
    },
    async ({ params }, reply) => reply.code((await registry.hasArtifact(params.digest)) ? 200 : 404).send(),
  );
  app.post(
    '/v1/artifacts',
    {
      // The bytes go to the disk as they come, whatever their number.
      bodyLimit: Number.MAX_SAFE_INTEGER,
      schema: {
        ...about('uploadArtifact', 'assets', 'Takes a file, or a folder as a tar stream', uploadText),
        ...{ querystring: uploadQuery, response: answers({ 201: sealedArtifact }) },
        consumes: ['application/octet-stream', 'application/x-tar'],
      },
    },
    async (request, reply) => {
      const { kind, name } = request.query;
      const bytes = request.body instanceof Readable ? request.body : Readable.from([]);
      const sha256 = sha256Of(request.headers['content-digest']);
      const artifact = await registry.receive({ kind, name, bytes, sha256, stillMay: request.stillMay });
      return reply.code(201).send(artifact);
    },
  );
}

const uploadText =
  'Kept by digest, so that what is there already need not be sent. `Content-Digest: sha-256=:BASE64:` (RFC 9530) is checked when it is given.';

/** @source RFC 9530; other algorithms beside it are let be */
function sha256Of(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  const found = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(header))?.[1];
  if (found !== undefined) return found;
  throw new BatchError('REQUEST_INVALID', `Content-Digest: wanted sha-256=:BASE64:, found ${JSON.stringify(header)}`);
}

function assetRoutes(server: FastifyInstance, registry: RegistryBackend, folder: string, kind: AssetKind): void {
  const app = typed(server);
  const one = assetSchemas[kind];
  const What = `${kind.slice(0, 1).toUpperCase()}${kind.slice(1)}`;
  app.post(
    `/v1/${folder}`,
    {
      schema: {
        ...about(`create${What}`, 'assets', `Registers a version of a ${kind}`),
        ...{ body: assetBody, response: answers({ 200: one, 201: one }) },
      },
    },
    async (request, reply) => {
      const stored = await registry.createAsset(kind, request.body, callerOf(request));
      return tagged(reply, stored, stored.view.id);
    },
  );
  app.get(
    `/v1/${folder}`,
    {
      schema: {
        ...about(`list${What}s`, 'assets', 'The latest of each name, or all versions of one'),
        ...{ querystring: z.object({ name: z.string().optional() }), response: answers({ 200: listOf(one) }) },
      },
    },
    async ({ query }) => ({ value: registry.assets(kind, query.name ?? null) }),
  );
  app.get(
    `/v1/${folder}/:name/versions/:version`,
    {
      schema: {
        ...about(`get${What}`, 'assets', `A version of a ${kind}`),
        ...{ params: versionParams, response: answers({ 200: one }) },
      },
    },
    async ({ params }, reply) => tagged(reply, registry.asset(kind, params.name, params.version)),
  );
  app.get(
    `/v1/${folder}/:name/labels/latest`,
    {
      schema: {
        ...about(`getLatest${What}`, 'assets', `The version of a ${kind} that was made last`),
        ...{ params: named, response: answers({ 200: one }) },
      },
    },
    async ({ params }, reply) => tagged(reply, registry.asset(kind, params.name, null)),
  );
  app.delete(
    `/v1/${folder}/:name/versions/:version`,
    {
      schema: {
        ...about(`delete${What}`, 'assets', `Forgets a version of a ${kind}; deployments keep what they were made of`),
        ...{ params: versionParams, response: answers({ 204: z.null() }) },
      },
    },
    async (request, reply) => {
      const { name, version } = request.params;
      await registry.removeAsset(kind, name, version, removalOf(request, false));
      return reply.code(204).send(null);
    },
  );
}

function setUpRoutes(server: FastifyInstance, registry: RegistryBackend): void {
  const app = typed(server);
  app.put(
    '/v1/datastores/:name',
    {
      schema: {
        ...about('putDatastore', 'admin', 'Names a place, for azureml://datastores/NAME/paths/…'),
        ...{ params: named, body: datastoreBody, response: answers({ 200: datastoreSchema, 201: datastoreSchema }) },
      },
    },
    async (request, reply) =>
      tagged(
        reply,
        await registry.putDatastore(request.params.name, request.body, callerOf(request), ifMatchOf(request)),
        `/v1/datastores/${request.params.name}`,
      ),
  );
  app.put(
    '/v1/computes/:name',
    {
      schema: {
        ...about('putCompute', 'admin', 'Names a set of worker nodes, by their labels'),
        ...{ params: named, body: computeBody, response: answers({ 200: computeSchema, 201: computeSchema }) },
      },
    },
    async (request, reply) =>
      tagged(
        reply,
        await registry.putCompute(request.params.name, request.body, callerOf(request), ifMatchOf(request)),
        `/v1/computes/${request.params.name}`,
      ),
  );
  allocatorRoutes(server, registry);
  setUpReads(server, registry, 'datastore', datastoreSchema);
  setUpReads(server, registry, 'compute', computeSchema);
}

/** For `batchmill allocator`, a client like others. */
function allocatorRoutes(server: FastifyInstance, registry: RegistryBackend): void {
  const app = typed(server);
  app.get(
    '/v1/computes/:name/demand',
    {
      schema: {
        ...about('getDemand', 'admin', 'What there is to do for the nodes of a compute'),
        ...{ params: named, response: answers({ 200: demandSchema }) },
      },
    },
    async ({ params }) => registry.demand(params.name),
  );
  app.put(
    '/v1/computes/:name/allocation',
    {
      schema: {
        ...about(
          'reportAllocation',
          'admin',
          'Says how the allocator of a compute fares',
          'For people; forgotten by a restart.',
        ),
        ...{ params: named, body: allocationBody, response: answers({ 200: computeSchema }) },
      },
    },
    async ({ params, body }) => registry.reportAllocation(params.name, body),
  );
}

function setUpReads(
  server: FastifyInstance,
  registry: RegistryBackend,
  kind: SetUpKind,
  one: z.ZodType<SetUpViews[SetUpKind]>,
): void {
  const app = typed(server);
  const What = `${kind.slice(0, 1).toUpperCase()}${kind.slice(1)}`;
  app.get(
    `/v1/${kind}s`,
    { schema: { ...about(`list${What}s`, 'admin', `All ${kind}s`), response: answers({ 200: listOf(one) }) } },
    async () => ({ value: registry.setUps(kind) }),
  );
  app.get(
    `/v1/${kind}s/:name`,
    {
      schema: {
        ...about(`get${What}`, 'admin', `One ${kind}`),
        ...{ params: named, response: answers({ 200: one }) },
      },
    },
    async ({ params }, reply) => tagged(reply, registry.setUp(kind, params.name)),
  );
  app.delete(
    `/v1/${kind}s/:name`,
    {
      schema: {
        ...about(`delete${What}`, 'admin', `Forgets a ${kind}`),
        ...{ params: named, querystring: force, response: answers({ 204: z.null() }) },
      },
    },
    async (request, reply) => {
      await registry.removeSetUp(kind, request.params.name, removalOf(request, request.query.force === true));
      return reply.code(204).send(null);
    },
  );
}

/** 201 with its place for what is new; 304 when the caller has it already. */
export function tagged<T>(reply: FastifyReply, { view, tag, isNew }: Tagged<T>, location?: string): FastifyReply {
  const etag = `"${tag}"`;
  reply.header('etag', etag);
  if (reply.request.method === 'GET' && reply.request.headers['if-none-match'] === etag) return reply.code(304).send();
  if (isNew && location !== undefined) reply.header('location', location);
  return reply.code(isNew ? 201 : 200).send(view);
}

/** @source RFC 9110, If-Match with one strong tag of ours, or `*` */
export function ifMatchOf({ headers }: FastifyRequest): number | null {
  const header = headers['if-match'];
  if (header === undefined || header === '*') return null;
  const tag = /^"(\d{1,15})"$/.exec(header)?.[1];
  if (tag !== undefined) return Number(tag);
  throw new BatchError('REQUEST_INVALID', `If-Match: wanted the ETag of an answer, found ${JSON.stringify(header)}`);
}

export function removalOf(request: FastifyRequest, isForced: boolean): Removal {
  return { ifMatch: ifMatchOf(request), isForced };
}
