/**
 * What a coordinator has for people, programs and strangers: the HTTP API and the desks behind it, schedules, certificates and tokens.
 * A `run` has none of this, and does not load it.
 */
import { formatAddress, parseAddress, type Address } from '../common/config/address.ts';
import { localUser } from '../common/core/job-origin.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Log } from '../common/io/log.ts';
import { expiresMsOf } from '../common/security/authority.ts';
import { AccessRecords } from './access/access-records.ts';
import { Access } from './access/access.ts';
import { AuditLog } from './access/audit-log.ts';
import { openAuthority } from './access/authority-files.ts';
import { firstNodeEndMs } from './access/certificate-ends.ts';
import type { Secrets } from './access/secrets.ts';
import type { Metrics } from './api/metrics.ts';
import { startApi, type ApiHandle } from './api/server.ts';
import { DoctorDesk, type LastWrite } from './doctor-desk.ts';
import type { Engine, EngineViews } from './engine.ts';
import { ExplainDesk } from './explain-desk.ts';
import type { JobDesk } from './job-desk.ts';
import { catalogOf } from './job-logs.ts';
import type { ArtifactStore } from './registry/artifact-store.ts';
import { Invoker } from './registry/invoke.ts';
import { instancePath, RegistryDesk } from './registry/registry-desk.ts';
import { ScheduleClock, startSchedules } from './schedules/schedule-clock.ts';
import { ScheduleDesk } from './schedules/schedule-desk.ts';
import type { ClusterServer } from './service/cluster-server.ts';
import { readOwnText } from './state-dir.ts';

export interface SecurityOptions {
  /** How long the join token of this start passes. */
  readonly joinTokenMs: number;
  readonly nodeCertificateMs?: number;
}

export interface FrontOptions {
  /** Absolute. */
  readonly stateDir: string;
  readonly listen: string;
  readonly http: Address | null;
  readonly security: SecurityOptions | null;
  readonly release: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly engine: Engine<EngineViews>;
  readonly jobs: JobDesk;
  readonly artifacts: ArtifactStore;
  readonly secrets: Secrets;
  readonly locate: (text: string) => Promise<string>;
  readonly metrics: Metrics | null;
  readonly lastWrite: () => LastWrite | null;
  /** See {@link CoordinatorBackend}. */
  readonly handOver: () => Promise<string>;
  readonly onFatal: (error: unknown) => void;
}

export interface Opened {
  /** As bound. */
  readonly http: Address | null;
  /** Of this start; null without security. */
  readonly joinToken: string | null;
}

export class Front {
  /** Null: without security. */
  readonly access: Access | null;
  readonly #options: FrontOptions;
  readonly #audit: AuditLog;
  readonly #closers: (() => Promise<void> | void)[] = [];

  private constructor(options: FrontOptions, audit: AuditLog, access: Access | null) {
    this.#options = options;
    this.#audit = audit;
    this.access = access;
  }

  /** Nobody is served before {@link open}. @throws STATE_UNWRITABLE */
  static async make(options: FrontOptions): Promise<Front> {
    const audit = new AuditLog(options);
    return new Front(options, audit, options.security && (await openAccess(options, options.security, audit)));
  }

  /** Begins schedules, and serves where `http` says. @throws LISTEN_FAILED */
  async open(server: ClusterServer): Promise<Opened> {
    const { http, security, onFatal, jobs, metrics } = this.#options;
    const { access } = this;
    const guard = access && {
      tls: access.certificate,
      access: { tokens: access.tokens, audit: this.#audit, backend: access },
    };
    let api: ApiHandle | null = null;
    const registry = http && (await this.#registry(() => ({ nodes: server.address, http: addressText(api) })));
    const told = { onDefect: onFatal, onCrowd: (address: string) => this.#tellCrowd(address) };
    api = http && metrics && (await startApi({ backend: jobs, registry, metrics, ...told, ...guard, ...http }));
    if (api) this.#closers.push(() => api.close());
    metrics?.showGpus(this.#options.engine.nodes.gpus);
    if (!access) return { http: api?.address ?? null, joinToken: null };
    metrics?.showCertificates(() => this.#certificatesLeft(access));
    access.serves(parseAddress(server.address, 'the address for worker nodes'), (serial) => server.cut(serial));
    this.#keepCertificate(access, (certificate) => {
      server.renew(certificate);
      api?.renew(certificate);
    });
    const wanted = { user: localUser, role: 'join', ttlMs: security?.joinTokenMs ?? 0, uses: null } as const;
    const { secret } = await access.makeToken({ ...wanted, createdBy: localUser });
    return { http: api?.address ?? null, joinToken: secret };
  }

  #tellCrowd(address: string): void {
    const open = limits.apiConnectionsPerAddressMax;
    this.#options.log.warn('connections of callers are refused: their address has as many as one may', {
      address,
      open,
    });
  }

  /** Serves nobody any more. */
  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
  }

  /** Everything that was noted is on the disk. */
  settled(): Promise<void> {
    return this.#audit.settled();
  }

  async #registry(doors: () => { readonly nodes: string; readonly http: string }) {
    const { engine, jobs, stateDir, clock, release, random, log, lastWrite, onFatal } = this.#options;
    const { artifacts, secrets, locate } = this.#options;
    const { access } = this;
    const { loop, nodes, work } = engine;
    const { ledger } = loop;
    const invocations = new Invoker({ ledger, jobs, stateDir, clock, random });
    const { stopped } = work;
    const scheduled = startSchedules(new ScheduleClock({ loop, invocations, clock, log, stopped }), onFatal);
    this.#closers.push(() => scheduled.close());
    const instance = await readOwnText(stateDir, instancePath(stateDir));
    return {
      backend: new RegistryDesk({ loop, artifacts, secrets, stateDir, instance, release, clock, locate }),
      invocations,
      coordinator: { handOver: this.#options.handOver },
      schedules: new ScheduleDesk(loop, clock),
      explain: new ExplainDesk({
        ...{ ledger, clock, jobs },
        catalogOf: async (job) => work.filesOf(job.name)?.catalog ?? (await catalogOf(stateDir, job)),
      }),
      doctor: new DoctorDesk({
        ...{ ledger, nodes, clock, release, stateDir, lastWrite, doors },
        certificateEndsMs: () => access && expiresMsOf(access.certificate.cert),
      }),
    };
  }

  #certificatesLeft(access: Access): ReadonlyMap<string, number> {
    const { clock, engine } = this.#options;
    const nodeEndMs = firstNodeEndMs(engine.loop.ledger);
    const ends = {
      authority: expiresMsOf(access.authority.cert),
      coordinator: expiresMsOf(access.certificate.cert),
      ...(nodeEndMs === null ? {} : { worker_nodes: nodeEndMs }),
    };
    return new Map(Object.entries(ends).map(([of, endsMs]) => [of, Math.round((endsMs - clock.wall()) / 1_000)]));
  }

  /** Looks now and then whether the server's certificate is to be made anew. */
  #keepCertificate(access: Access, renew: (certificate: Access['certificate']) => void): void {
    const timer = setInterval(() => {
      access.renewIfDue().then((isNew) => isNew && renew(access.certificate), this.#options.onFatal);
    }, limits.certificateLookMs);
    this.#closers.push(() => clearInterval(timer));
  }
}

function addressText(api: ApiHandle | null): string {
  return formatAddress(api?.address ?? { host: '', port: 0 });
}

async function openAccess(
  { stateDir, listen, http, clock, log, secrets, engine }: FrontOptions,
  { nodeCertificateMs }: SecurityOptions,
  audit: AuditLog,
): Promise<Access> {
  const hosts = [parseAddress(listen, 'the address for worker nodes').host, ...(http ? [http.host] : [])];
  const authority = await openAuthority(stateDir, clock.wall());
  return await Access.open({
    ...{ authority, audit, secrets, hosts, log, records: new AccessRecords({ loop: engine.loop, clock }) },
    ...(nodeCertificateMs === undefined ? {} : { nodeCertificateMs }),
  });
}
