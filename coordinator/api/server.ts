/**
 * The HTTP API for people and programs. It holds no state of its own: every answer is the backend's, and the backend is
 * the only thing that a test has to replace.
 */
import { Server as TlsServer } from 'node:tls';
import { fastify, type FastifyInstance } from 'fastify';
import * as z from 'zod';
import { formatAddress, type Address } from '../../common/config/address.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { controlAccess, type AccessControlOptions } from './access-control.ts';
import { accessRoutes, type AccessBackend } from './access-routes.ts';
import { packageRelease } from '../../common/io/package-files.ts';
import { azureRoutes } from './azure/azure-routes.ts';
import type { Backend } from './backend.ts';
import { compareRoutes } from './compare-routes.ts';
import { coordinatorRoutes, type CoordinatorBackend } from './coordinator-routes.ts';
import { limitConnections, serverLimits } from './connection-limits.ts';
import { doctorRoutes, type DoctorBackend } from './doctor-routes.ts';
import { endpointRoutes } from './endpoint-routes.ts';
import { explainRoutes, type ExplainBackend } from './explain-routes.ts';
import type { Invocations } from './invocations.ts';
import type { RegistryBackend } from './registry-backend.ts';
import { registryRoutes } from './registry-routes.ts';
import { jobRoutes } from './job-routes.ts';
import { logRoutes } from './log-routes.ts';
import type { Metrics } from './metrics.ts';
import { describeApi } from './openapi.ts';
import { outputRoutes } from './output-routes.ts';
import { handleProblems } from './problem.ts';
import { scheduleRoutes, type ScheduleBackend } from './schedule-routes.ts';
import { guardRequests } from './request-guard.ts';
import { about, answers, typed } from './typed-route.ts';

export interface ApiRegistry {
  readonly schedules?: ScheduleBackend;
  readonly explain?: ExplainBackend;
  readonly doctor?: DoctorBackend;
  readonly coordinator?: CoordinatorBackend;
  readonly backend: RegistryBackend;
  readonly invocations: Invocations;
}

export interface ApiOptions {
  readonly backend: Backend;
  /** Null: jobs alone are served. */
  readonly registry?: ApiRegistry | null;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Told about errors that are defects: the process should end and be started again. The caller got INTERNAL. */
  readonly onDefect: (error: unknown) => void;
  /** Told of an address whose connections are refused for their number. */
  readonly onCrowd?: (address: string) => void;
  /** Answer of /readyz; default: always. */
  readonly isReady?: () => boolean;
  /** PEM; absent: in the clear. */
  readonly tls?: { readonly key: string; readonly cert: string } | null;
  /** Absent: whoever reaches the port may do everything. */
  readonly access?: (Omit<AccessControlOptions, 'ownerOf'> & { readonly backend: AccessBackend }) | null;
  /** Event streams that may be open at a time; default: as `limits` has it. */
  readonly streamsMax?: number;
  /** Absent: there is no /metrics. */
  readonly metrics?: Metrics;
}

export interface ApiHandle {
  /** Where it listens; the port is the real one. */
  readonly address: Address;
  /** The server's own certificate, for connections to come. */
  renew(certificate: { readonly key: string; readonly cert: string }): void;
  /** Ends event streams and connections, then resolves. */
  close(): Promise<void>;
}

/** Listens when it resolves. @throws LISTEN_FAILED */
export async function startApi(options: ApiOptions): Promise<ApiHandle> {
  const app = makeApp(options.tls ?? null);
  limitConnections(app, options.onCrowd ?? (() => undefined));
  handleProblems(app, options.onDefect);
  const { access = null } = options;
  const { tokens = null, audit = null } = access ?? {};
  await controlAccess(app, { tokens, audit, ownerOf: (job) => options.backend.show(job) });
  guardRequests(app, options.host);
  await describeApi(app, packageRelease());
  options.metrics?.serve(app);
  healthRoutes(app, options.isReady ?? (() => true));
  jobRoutes(app, options);
  outputRoutes(app, options.backend);
  logRoutes(app, options.backend);
  if (access) accessRoutes(app, access.backend);
  compareRoutes(app, options.backend);
  if (options.registry) {
    const { backend: registry, invocations, schedules, explain, doctor, coordinator } = options.registry;
    registryRoutes(app, registry);
    endpointRoutes(app, registry, invocations);
    azureRoutes(app, { ...options, registry, invocations });
    if (schedules) scheduleRoutes(app, schedules);
    if (explain) explainRoutes(app, explain);
    if (doctor) doctorRoutes(app, doctor);
    if (coordinator) coordinatorRoutes(app, coordinator);
  }
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  await listen(app, options);
  const bound = app.server.address();
  const port = typeof bound === 'object' && bound ? bound.port : options.port;
  return {
    address: { host: options.host, port },
    renew: (certificate) => {
      if (app.server instanceof TlsServer) app.server.setSecureContext({ ...certificate, minVersion: 'TLSv1.2' });
    },
    close: async () => {
      await app.close();
    },
  };
}

function makeApp(tls: ApiOptions['tls']): FastifyInstance {
  const common = {
    logger: false,
    bodyLimit: limits.apiBodyBytesMax,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 1_024 },
  };
  if (!tls) return fastify({ ...common, http: serverLimits });
  // The type of the server beneath is nobody's business.
  return fastify({
    ...common,
    https: { ...serverLimits, ...tls, minVersion: 'TLSv1.2' },
  }) as unknown as FastifyInstance;
}

function healthRoutes(server: FastifyInstance, isReady: () => boolean): void {
  const app = typed(server);
  const status = <T extends string>(word: T) => z.object({ status: z.literal(word) });
  app.get(
    '/healthz',
    { schema: { ...about('getHealth', 'server', 'Whether it lives'), response: answers({ 200: status('ok') }) } },
    async () => ({ status: 'ok' as const }),
  );
  const readiness = answers({ 200: status('ready'), 503: status('starting') });
  app.get(
    '/readyz',
    { schema: { ...about('getReadiness', 'server', 'Whether it serves'), response: readiness } },
    async (_request, reply) =>
      isReady() ? reply.send({ status: 'ready' }) : reply.code(503).send({ status: 'starting' }),
  );
}

async function listen(app: FastifyInstance, { host, port }: ApiOptions): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    const address = formatAddress({ host, port });
    throw new BatchError('LISTEN_FAILED', `cannot listen on ${address}: ${reasonOf(error)}`, { cause: error });
  }
}
