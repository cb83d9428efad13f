/** The coordinators of a cluster among themselves, over HTTP. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { about, answers, typed } from './typed-route.ts';

export interface CoordinatorBackend {
  /** Lets a standby lead, soon after this resolves; with whom it is. @throws NO_STANDBY */
  handOver(): Promise<string>;
}

export function coordinatorRoutes(server: FastifyInstance, backend: CoordinatorBackend): void {
  const reply = z.object({ to: z.string().describe('who stands by, for people') }).meta({ id: 'Handover' });
  typed(server).post(
    '/v1/coordinator/handover',
    {
      schema: { ...about('handOver', 'server', 'Let a standby lead', description), response: answers({ 202: reply }) },
    },
    async (_request, response) => response.code(202).send({ to: await backend.handOver() }),
  );
}

const description =
  'What is under way is finished and made durable, then the lease to lead is given up; worker nodes score on and connect to the ' +
  'coordinator that leads next. Refused with NO_STANDBY where nobody stands by.';
