/** Azure's data plane beside our own: the same jobs, in the words of Azure's clients. Translates and hands on. */
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { BatchError } from '../../../common/core/batch-error.ts';
import { limits } from '../../../common/core/limits.ts';
import type { Backend } from '../backend.ts';
import { callerOf } from '../caller.ts';
import { invokeBody, type Invocations } from '../invocations.ts';
import { parse } from '../job-request.ts';
import type { RegistryBackend } from '../registry-backend.ts';
import { about, cursorText, typed } from '../typed-route.ts';
import { azureError, azureErrorSchema, azureJob, azureJobSchema, type AzureJob } from './azure-envelope.ts';
import { invocationOf } from './azure-request.ts';
import { parseLenient } from './lenient-json.ts';

export interface AzureRoutesOptions {
  readonly backend: Pick<Backend, 'page' | 'show'>;
  readonly registry: Pick<RegistryBackend, 'endpoint' | 'deployments'>;
  readonly invocations: Invocations;
  readonly onDefect: (error: unknown) => void;
}

/** A refusal that HTTP has a number of its own for. */
class RoutingError extends BatchError {
  readonly status: number;

  constructor(status: number, message: string) {
    super('RESOURCE_NOT_FOUND', message);
    this.status = status;
  }
}

const json = <T extends z.ZodType>(description: string, schema: T) => ({
  description,
  content: { 'application/json': { schema } },
});
const problems = { default: json("Azure's error envelope", azureErrorSchema) };
const jobPage = z.object({ value: z.array(azureJobSchema).readonly(), nextLink: z.string().nullable() });

const endpointParams = z.object({ endpoint: z.string() });
const listQuery = z.object({
  deployment: z.string().optional(),
  $skiptoken: cursorText.optional(),
  'api-version': z.string().optional(),
});
const invokeHeaders = z.object({
  'azureml-model-deployment': z.string().optional().describe('which deployment; without it the default one'),
  'idempotency-key': z.string().min(1).max(255).optional(),
});
/** Looked at by {@link invocationOf}: Azure's names are matched whatever their case, which a schema cannot say. */
const azureBody = z.unknown().meta({
  type: 'object',
  properties: { properties: { type: 'object' } },
  required: ['properties'],
  examples: [
    {
      properties: {
        InputData: { images: { JobInputType: 'UriFolder', Uri: 'azureml://datastores/images/paths/today' } },
        OutputData: { score: { JobOutputType: 'UriFolder', Uri: 'azureml://datastores/results/paths/today' } },
        errorThreshold: '10',
      },
    },
  ],
});

/** Everything below has Azure's error envelope and reads bodies as Azure's clients write them. */
export function azureRoutes(server: FastifyInstance, options: AzureRoutesOptions): void {
  void server.register(async (scope) => {
    scope.removeContentTypeParser('application/json');
    scope.addContentTypeParser(
      'application/json',
      { parseAs: 'string', bodyLimit: limits.apiBodyBytesMax },
      async (_request: FastifyRequest, body: string) => parseLenient(body),
    );
    handleErrors(scope, options.onDefect);
    invokeRoute(scope, options);
    listRoutes(scope, options);
  });
}

function handleErrors(scope: FastifyInstance, onDefect: (error: unknown) => void): void {
  scope.setErrorHandler((error: FastifyError | BatchError, _request, reply) => {
    if (error instanceof BatchError) {
      const status = error instanceof RoutingError ? error.status : error.rule.http;
      return reply.code(status).send(azureError(error, status));
    }
    const status = error.statusCode ?? 500;
    if (status >= 500) onDefect(error);
    const shown = new BatchError(status >= 500 ? 'INTERNAL' : 'REQUEST_INVALID', error.message);
    return reply.code(status).send(azureError(shown, status));
  });
}

function invokeRoute(scope: FastifyInstance, { registry, invocations }: AzureRoutesOptions): void {
  typed(scope).post(
    '/azure/endpoints/:endpoint/jobs',
    {
      schema: {
        ...about('azureInvoke', 'azure', 'POST {scoring_uri}: scores an input with a deployment'),
        ...{ params: endpointParams, headers: invokeHeaders, body: azureBody },
        response: {
          200: json('the job that was made for the same key before', azureJobSchema),
          201: json('the job', azureJobSchema),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const { endpoint } = request.params;
      const named = request.headers['azureml-model-deployment']?.trim();
      requireRoute(registry, endpoint, named === '' ? undefined : named);
      const body = parse(invokeBody, invocationOf(request.body, named), '');
      const key = request.headers['idempotency-key'] ?? null;
      const { job, isNew } = await invocations.invoke(endpoint, body, callerOf(request), key);
      const answer = azureJob(job, originOf(request));
      return reply
        .code(isNew ? 201 : 200)
        .header('location', answer.id)
        .send(answer);
    },
  );
}

/** Says by Azure's own words why no deployment can serve; which one does is for the invocation to find. */
function requireRoute(
  registry: AzureRoutesOptions['registry'],
  endpoint: string,
  deployment: string | undefined,
): void {
  const { name, defaults } = registry.endpoint(endpoint).view;
  const names = registry.deployments(endpoint).map((one) => one.name);
  if (deployment !== undefined) {
    if (names.some((one) => one.toLowerCase() === deployment.toLowerCase())) return;
    throw new RoutingError(404, `Deployment name ${deployment} not found for this endpoint (${name})`);
  }
  if (names.length === 0) throw new RoutingError(424, `No deployment exists for this endpoint (${name})`);
  if (defaults.deployment_name !== null || names.length === 1) return;
  throw new RoutingError(
    424,
    `No valid deployments to route to: endpoint ${name} has no default deployment; set one, or name one of ` +
      `${names.join(', ')} in the header azureml-model-deployment`,
  );
}

function listRoutes(scope: FastifyInstance, { backend, registry }: AzureRoutesOptions): void {
  const app = typed(scope);
  const response = { 200: json('one page', jobPage), ...problems };
  const list = (
    request: FastifyRequest,
    query: z.infer<typeof listQuery>,
    endpoint: string,
  ): z.infer<typeof jobPage> => {
    registry.endpoint(endpoint);
    const { deployment = null, $skiptoken: before = null } = query;
    const page = backend.page({
      endpoint,
      deployment,
      states: null,
      archived: false,
      limit: limits.apiPage,
      before,
    });
    const origin = originOf(request);
    return { value: page.value.map((job) => azureJob(job, origin)), nextLink: nextLink(request, page.next) };
  };
  app.get(
    '/azure/endpoints/:endpoint/jobs',
    {
      schema: {
        ...about('azureListJobs', 'azure', 'Jobs of an endpoint, newest first'),
        ...{ params: endpointParams, querystring: listQuery, response },
      },
    },
    async (request) => list(request, request.query, request.params.endpoint),
  );
  app.get(
    '/azure/endpoints/:endpoint/deployments/:deployment/jobs',
    {
      schema: {
        ...about('azureListDeploymentJobs', 'azure', 'Jobs of one deployment, newest first'),
        ...{ params: endpointParams.extend({ deployment: z.string() }), querystring: listQuery, response },
      },
    },
    async (request) => list(request, { ...request.query, ...request.params }, request.params.endpoint),
  );
  app.get(
    '/azure/endpoints/:endpoint/jobs/:id',
    {
      schema: {
        ...about('azureGetJob', 'azure', 'GET {scoring_uri}/{id}: one job'),
        ...{ params: endpointParams.extend({ id: z.string() }) },
        response: { 200: json('the job', azureJobSchema), ...problems },
      },
    },
    async (request): Promise<AzureJob> => {
      const { endpoint, id } = request.params;
      const job = backend.show(id);
      if (job.endpoint?.toLowerCase() === endpoint.toLowerCase() && job.name === id) {
        return azureJob(job, originOf(request));
      }
      throw new BatchError('JOB_NOT_FOUND', `endpoint ${endpoint} has no job ${id}`);
    },
  );
}

function originOf(request: FastifyRequest): string {
  return `${request.protocol}://${request.host}`;
}

/** The same address with another place to begin at. */
function nextLink(request: FastifyRequest, next: number | null): string | null {
  if (next === null) return null;
  const url = new URL(request.url, originOf(request));
  url.searchParams.set('$skiptoken', String(next));
  return url.href;
}
