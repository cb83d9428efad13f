/** Endpoints, their deployments, and invoking them, over HTTP. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { resourceName } from '../../common/config/field-types.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { callerOf } from './caller.ts';
import { invokeBody, type Invocations } from './invocations.ts';
import { parseDeployment } from './job-request.ts';
import type { EndpointView, RegistryBackend, Tagged } from './registry-backend.ts';
import { force, ifMatchOf, removalOf, tagged } from './registry-routes.ts';
import { deploymentBody, deploymentSchema, descriptionOf, endpointBody, endpointSchema } from './registry-schemas.ts';
import { about, answers, listOf, typed } from './typed-route.ts';
import { jobSchema } from './view-schemas.ts';

const endpointParams = z.object({ endpoint: z.string() });
const newEndpoint = z.object({ endpoint: resourceName });
const deploymentParams = z.object({ endpoint: z.string(), deployment: z.string() });
const newDeployment = z.object({ endpoint: z.string(), deployment: resourceName });

export function endpointRoutes(server: FastifyInstance, registry: RegistryBackend, invocations: Invocations): void {
  const app = typed(server);
  app.get(
    '/v1/endpoints',
    {
      schema: {
        ...about('listEndpoints', 'endpoints', 'All endpoints'),
        response: answers({ 200: listOf(endpointSchema) }),
      },
    },
    async (request) => ({ value: registry.endpoints().map((view) => reachable(request, view)) }),
  );
  app.get(
    '/v1/endpoints/:endpoint',
    {
      schema: {
        ...about('getEndpoint', 'endpoints', 'One endpoint', 'Names are matched whatever their case.'),
        ...{ params: endpointParams, response: answers({ 200: endpointSchema }) },
      },
    },
    async (request, reply) => tagged(reply, withUris(request, registry.endpoint(request.params.endpoint))),
  );
  app.put(
    '/v1/endpoints/:endpoint',
    {
      schema: {
        ...about(
          'putEndpoint',
          'endpoints',
          'Makes an endpoint, or changes it to what is sent',
          'Of its default deployment and its limit, what is not sent stays as it is.',
        ),
        ...{ params: newEndpoint, body: endpointBody, response: answers({ 200: endpointSchema, 201: endpointSchema }) },
      },
    },
    async (request, reply) => {
      const { endpoint } = request.params;
      const stored = await registry.putEndpoint(endpoint, request.body, callerOf(request), ifMatchOf(request));
      return tagged(reply, withUris(request, stored), stored.view.id);
    },
  );
  app.delete(
    '/v1/endpoints/:endpoint',
    {
      schema: {
        ...about('deleteEndpoint', 'endpoints', 'Removes an endpoint with its deployments; its jobs stay'),
        ...{ params: endpointParams, querystring: force, response: answers({ 204: z.null() }) },
      },
    },
    async (request, reply) => {
      await registry.removeEndpoint(request.params.endpoint, removalOf(request, request.query.force === true));
      return reply.code(204).send(null);
    },
  );
  deploymentRoutes(server, registry);
  invokeRoute(server, invocations);
}

function deploymentRoutes(server: FastifyInstance, registry: RegistryBackend): void {
  const app = typed(server);
  const url = '/v1/endpoints/:endpoint/deployments/:deployment';
  app.get(
    '/v1/endpoints/:endpoint/deployments',
    {
      schema: {
        ...about('listDeployments', 'endpoints', 'Deployments of an endpoint'),
        ...{ params: endpointParams, response: answers({ 200: listOf(deploymentSchema) }) },
      },
    },
    async ({ params }) => ({ value: registry.deployments(params.endpoint) }),
  );
  app.get(
    url,
    {
      schema: {
        ...about('getDeployment', 'endpoints', 'One deployment'),
        ...{ params: deploymentParams, response: answers({ 200: deploymentSchema }) },
      },
    },
    async ({ params }, reply) => tagged(reply, registry.deployment(params.endpoint, params.deployment)),
  );
  app.get(
    `${url}/revisions`,
    {
      schema: {
        ...about('listRevisions', 'endpoints', 'Every revision of a deployment, the newest first'),
        ...{ params: deploymentParams, response: answers({ 200: listOf(deploymentSchema) }) },
      },
    },
    async ({ params }) => ({ value: registry.revisions(params.endpoint, params.deployment) }),
  );
  app.put(
    url,
    {
      schema: {
        ...about('putDeployment', 'endpoints', 'Makes a deployment, or a new revision of it'),
        ...{ params: newDeployment, body: deploymentBody },
        response: answers({ 200: deploymentSchema, 201: deploymentSchema }),
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      const { deployment: given, document = null, compute, set_default: isDefault } = body;
      if ((given ?? null) === null && document === null) {
        throw new BatchError('REQUEST_INVALID', 'wanted deployment or document, found neither');
      }
      const deployment = (given ?? null) === null ? null : await parseDeployment(given, []);
      const asked = { ...descriptionOf(body), deployment, document, compute: compute ?? null, isDefault };
      const { endpoint, deployment: name } = params;
      const stored = await registry.putDeployment(endpoint, name, asked, callerOf(request), ifMatchOf(request));
      return tagged(reply, stored, stored.view.id);
    },
  );
  app.delete(
    url,
    {
      schema: {
        ...about('deleteDeployment', 'endpoints', 'Removes a deployment; its jobs stay'),
        ...{ params: deploymentParams, querystring: force, response: answers({ 204: z.null() }) },
      },
    },
    async (request, reply) => {
      const { endpoint, deployment } = request.params;
      await registry.removeDeployment(endpoint, deployment, removalOf(request, request.query.force === true));
      return reply.code(204).send(null);
    },
  );
}

const keyHeader = z.object({
  'idempotency-key': z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe('a request that comes again with it gets the job that is there, so that no retry starts a second one'),
});

function invokeRoute(server: FastifyInstance, invocations: Invocations): void {
  typed(server).post(
    '/v1/endpoints/:endpoint/jobs',
    {
      schema: {
        ...about('invokeEndpoint', 'endpoints', 'Starts a job', 'Durable when it is answered; scoring comes after it.'),
        ...{ params: endpointParams, headers: keyHeader, body: invokeBody },
        response: answers({ 200: jobSchema, 201: jobSchema }),
      },
    },
    async (request, reply) => {
      const key = request.headers['idempotency-key'] ?? null;
      const { job, isNew } = await invocations.invoke(request.params.endpoint, request.body, callerOf(request), key);
      return reply
        .code(isNew ? 201 : 200)
        .header('location', `/v1/jobs/${encodeURIComponent(job.name)}`)
        .send(job);
    },
  );
}

function withUris(request: FastifyRequest, stored: Tagged<EndpointView>): Tagged<EndpointView> {
  return { ...stored, view: reachable(request, stored.view) };
}

/** Addresses as whoever asks has reached this server. */
function reachable({ protocol, host }: FastifyRequest, view: EndpointView): EndpointView {
  const origin = `${protocol}://${host}`;
  return { ...view, scoring_uri: origin + view.scoring_uri, openapi_uri: origin + view.openapi_uri };
}
