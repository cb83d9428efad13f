/** Worker nodes over HTTP: who is there, and what operators do to them. Changes are for admins, see access-rules.ts. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { limits } from '../../common/core/limits.ts';
import type { NodeOrder } from '../core/node-orders.ts';
import type { Backend } from './backend.ts';
import { callerOf } from './caller.ts';
import { labelKey, labelValue } from './job-request.ts';
import { about, answers, emptyBody, listOf, named, typed } from './typed-route.ts';
import { nodeSchema } from './view-schemas.ts';

const drainBody = z.strictObject({
  deadline_seconds: z
    .number()
    .min(0)
    .max(limits.nodeDrainMsMax / 1_000)
    .optional()
    .describe('what still runs then is killed and scored elsewhere; absent: it may take as long as it does'),
});

const quarantineBody = z.strictObject({
  reason: z.string().min(1).max(limits.nodeReasonCharsMax).default('an operator has said so'),
});

const labelBody = z.strictObject({
  labels: z.record(labelKey, labelValue.nullable()).describe('those that change; null takes one away'),
});

const verbs = {
  cordon: [
    'cordonNode',
    'Keeps work from a worker node',
    'What it holds goes on. It stays so when the node joins anew.',
  ],
  uncordon: [
    'uncordonNode',
    'Ends the cordon of a worker node',
    'A process that was told to leave leaves all the same.',
  ],
  release: ['releaseNode', 'Ends the quarantines of a worker node', 'Of single jobs, and the one by hand.'],
} as const;

export function nodeRoutes(server: FastifyInstance, backend: Backend): void {
  const app = typed(server);
  const response = answers({ 200: listOf(nodeSchema) });
  app.get(
    '/v1/nodes',
    {
      schema: {
        ...about(
          'listNodes',
          'nodes',
          'Worker nodes',
          'Also those that are cordoned, quarantined or labelled by hand and not here.',
        ),
        response,
      },
    },
    async () => ({ value: backend.nodes() }),
  );
  app.get(
    '/v1/nodes/:name',
    {
      schema: {
        ...about('getNode', 'nodes', 'One worker node'),
        params: named,
        response: answers({ 200: nodeSchema }),
      },
    },
    async ({ params }) => backend.node(params.name),
  );
  for (const verb of ['cordon', 'uncordon', 'release'] as const) {
    const [id, title, more] = verbs[verb];
    app.post(
      `/v1/nodes/:name/${verb}`,
      { schema: { ...about(id, 'nodes', title, more), params: named, body: emptyBody, response } },
      async (request) => ({
        value: await backend.orderNode(request.params.name, { kind: verb }, callerOf(request).user),
      }),
    );
  }
  orderRoutes(server, backend);
}

/** Those that say more than which. */
function orderRoutes(server: FastifyInstance, backend: Backend): void {
  const app = typed(server);
  const response = answers({ 200: listOf(nodeSchema) });
  const order = async (name: string, what: NodeOrder, user: string) => ({
    value: await backend.orderNode(name, what, user),
  });
  app.post(
    '/v1/nodes/:name/drain',
    {
      schema: {
        ...about(
          'drainNode',
          'nodes',
          'Lets a worker node leave',
          'It is cordoned, scores what runs, gives the rest back and ends.',
        ),
        ...{ params: named, body: drainBody, response },
      },
    },
    async (request) => {
      const { deadline_seconds: seconds } = request.body;
      const untilWallMs = seconds === undefined ? null : backend.wallMs() + Math.round(seconds * 1_000);
      return await order(request.params.name, { kind: 'drain', untilWallMs }, callerOf(request).user);
    },
  );
  app.post(
    '/v1/nodes/:name/quarantine',
    {
      schema: {
        ...about(
          'quarantineNode',
          'nodes',
          'Quarantines a worker node',
          'It gets no work, and what it holds is scored elsewhere.',
        ),
        ...{ params: named, body: quarantineBody, response },
      },
    },
    async (request) =>
      await order(request.params.name, { kind: 'quarantine', reason: request.body.reason }, callerOf(request).user),
  );
  app.patch(
    '/v1/nodes/:name/labels',
    {
      schema: {
        ...about('labelNode', 'nodes', 'Changes labels of a worker node', 'Over those that it joins with.'),
        ...{ params: named, body: labelBody, response },
      },
    },
    async (request) =>
      await order(request.params.name, { kind: 'label', labels: request.body.labels }, callerOf(request).user),
  );
}
