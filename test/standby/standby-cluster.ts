/** NATS servers, coordinators of which one leads, and worker nodes: all processes of their own, and a proxy on each way to NATS. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { createClient, type Client } from '../../cli/client.ts';
import { readContexts, type Context } from '../../common/config/contexts.ts';
import { systemClock } from '../../common/io/clock.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import { FaultProxy } from '../chaos/fault-proxy.ts';
import { freePorts } from '../helpers/free-ports.ts';
import { NatsServer } from '../helpers/nats-server.ts';
import { Program, runProgram, until, type ProgramOptions } from '../helpers/programs.ts';
import { secureNats, type SecuredNats } from './secured.ts';

export interface StandbyOptions {
  /** Exists; the caller removes it. */
  readonly dir: string;
  /** 1 or 3. */
  readonly natsServers: number;
  readonly workers: number;
  /** As `--heartbeat-interval` takes it. */
  readonly heartbeat?: string;
  /** `main.js` that all begin with; by default the one that this package was compiled to. */
  readonly main?: string;
  /** TLS, tokens and certificates everywhere, NATS included; default: `--insecure`. */
  readonly isSecure?: boolean;
}

export type Name = 'a' | 'b';

interface Coordinator {
  readonly name: Name;
  readonly listen: number;
  readonly http: number;
  /** One to each NATS server. */
  readonly proxies: readonly FaultProxy[];
  program: Program;
}

export class StandbyCluster {
  readonly nats: readonly NatsServer[];
  readonly workers: Program[] = [];
  readonly #options: StandbyOptions;
  readonly #coordinators = new Map<Name, Coordinator>();
  /** What the first coordinator says of how to join. */
  #token = '';
  #fingerprint = '';
  readonly #secured: SecuredNats | null;
  /** How whoever started the first coordinator reaches it; null: in the clear. */
  #context: Context | null = null;

  private constructor(options: StandbyOptions, nats: readonly NatsServer[], secured: SecuredNats | null) {
    this.#options = options;
    this.nats = nats;
    this.#secured = secured;
  }

  /** `a` leads, `b` stands by, and the worker nodes have joined when it resolves. */
  static async start(options: StandbyOptions): Promise<StandbyCluster> {
    const { dir, natsServers, workers } = options;
    const secured = options.isSecure ? await secureNats(dir) : null;
    const nats = await startNats(dir, natsServers, secured?.more ?? '');
    const cluster = new StandbyCluster(options, nats, secured);
    await cluster.#open('a');
    await cluster.#open('b');
    await cluster.leads('a');
    const [, token = ''] = await cluster.coordinator('a').program.says(/ --token ([^\s"]+)/);
    cluster.#token = token;
    if (secured) {
      const [, fingerprint = ''] = await cluster.coordinator('a').program.says(/ --ca-fingerprint ([\w:]+)/);
      cluster.#fingerprint = fingerprint;
      cluster.#context = await contextIn(dir);
    }
    await cluster.standsBy('b');
    for (let index = 0; index < workers; index += 1) {
      cluster.workers.push(cluster.#worker(`node-${index}`, cluster.#first));
    }
    await Promise.all(cluster.workers.map((worker) => worker.says(/joined .* with \d+ slot/)));
    return cluster;
  }

  get dir(): string {
    return this.#options.dir;
  }

  /** Reaches whichever leads. */
  get client(): Client {
    const [server, ...others] = [...this.#coordinators.values()].map(({ http }) => ({ host: '127.0.0.1', port: http }));
    return createClient({ ...this.#trust, server: server as NonNullable<typeof server>, others });
  }

  clientOf(name: Name): Client {
    return createClient({ ...this.#trust, server: { host: '127.0.0.1', port: this.coordinator(name).http } });
  }

  get #trust(): Pick<Context, 'ca' | 'token' | 'isInsecure'> {
    const { ca, token, isInsecure } = this.#context ?? { ca: null, token: null, isInsecure: true };
    return { ca, token, isInsecure };
  }

  coordinator(name: Name): Coordinator {
    const found = this.#coordinators.get(name);
    if (!found) throw new Error(`there is no coordinator ${name}`);
    return found;
  }

  /** What `--server` takes. */
  get server(): string {
    return [...this.#coordinators.values()].map(({ http }) => `127.0.0.1:${http}`).join(',');
  }

  async submit(args: readonly string[]): Promise<string> {
    const all = ['job', 'submit', ...args, '--server', this.server, '-o', 'json'];
    const { code, stdout, stderr } = await runProgram(all, { cwd: this.#options.dir });
    if (code !== 0) throw new Error(`job submit ended with ${code}: ${stderr}`);
    return (JSON.parse(stdout) as JobView).name;
  }

  /** The job once `holds` is true of it, asked of `name` alone or of whoever leads. */
  async job(job: string, holds: (view: JobView) => boolean, what: string, name: Name | null = null): Promise<JobView> {
    const client = name === null ? this.client : this.clientOf(name);
    let last: JobView | null = null;
    const probe = async (): Promise<JobView | null> => {
      last = await client.show(job).catch(() => null);
      return last && holds(last) ? last : null;
    };
    return await until(probe, what, 120_000).catch((error: unknown) => {
      const all = [...this.#coordinators.values()].map(({ program }) => program.report());
      throw new Error(`${(error as Error).message}; last: ${JSON.stringify(last)}\n${all.join('\n')}`, {
        cause: error,
      });
    });
  }

  /** Milliseconds from now until `name` has committed what was not committed before. */
  async takeover(job: string, name: Name, before: number): Promise<number> {
    const begin = systemClock.monotonic();
    await this.job(job, (view) => view.mini_batches.committed > before, `commits by ${name}`, name);
    return Math.round(systemClock.monotonic() - begin);
  }

  /** Started anew, as a supervisor would, with the program that this package was compiled to. */
  restart(name: Name): void {
    const coordinator = this.coordinator(name);
    coordinator.program = this.#program(name, coordinator, {});
  }

  /** The worker node drains and leaves, and comes back with the program that this package was compiled to. */
  async upgradeWorker(index: number): Promise<Program> {
    const before = this.workers[index];
    if (!before) throw new Error(`there is no worker node ${index}`);
    before.signal('SIGTERM');
    const { code } = await before.endsWithin(60_000);
    if (code !== 0) throw new Error(before.report());
    const worker = this.#worker(`node-${index}`, {});
    this.workers[index] = worker;
    await worker.says(/joined .* with \d+ slot/);
    return worker;
  }

  async leads(name: Name): Promise<void> {
    await this.coordinator(name).program.says(/coordinator serves/, 60_000);
  }

  async standsBy(name: Name): Promise<void> {
    await this.coordinator(name).program.says(/standing by for/, 60_000);
  }

  /** Which NATS server leads the journal's stream. */
  async natsLeader(): Promise<number> {
    const connection = await connect({ servers: this.nats.map(({ address }) => address), ...this.#secured?.login });
    try {
      const manager = await jetstreamManager(connection);
      const { cluster } = await manager.streams.info('BATCHMILL_lab_JOURNAL');
      return Math.max(
        0,
        this.nats.findIndex((_server, index) => cluster?.leader === `n${index}`),
      );
    } finally {
      await connection.close();
    }
  }

  async close(): Promise<void> {
    for (const { proxies } of this.#coordinators.values()) for (const proxy of proxies) await proxy.close();
    await Promise.all(this.nats.map((server) => server.kill()));
  }

  async #open(name: Name): Promise<void> {
    const [listen = 0, http = 0] = await freePorts(2);
    const proxies = await Promise.all(
      this.nats.map((server) => FaultProxy.open(() => Number(server.address.split(':')[1]))),
    );
    const coordinator = { name, listen, http, proxies };
    const program = this.#program(name, coordinator, this.#first);
    this.#coordinators.set(name, { ...coordinator, program });
    if (name === 'a') await this.leads('a');
  }

  /** Which program all begin with. */
  get #first(): Pick<ProgramOptions, 'main'> {
    const { main } = this.#options;
    return main === undefined ? {} : { main };
  }

  #program(
    name: Name,
    { listen, http, proxies }: Omit<Coordinator, 'program'>,
    what: Pick<ProgramOptions, 'main'>,
  ): Program {
    const { dir, heartbeat = '5s' } = this.#options;
    const journal = `nats://${proxies.map(({ address }) => address).join(',')}/lab`;
    const args = ['coordinator', 'start', '--standby', '--journal', journal, ...(this.#secured ? [] : ['--insecure'])];
    args.push('--listen', `127.0.0.1:${listen}`, '--http', `127.0.0.1:${http}`, '--heartbeat-interval', heartbeat);
    args.push('--state-dir', join(dir, 'shared'), '--local-dir', join(dir, `local-${name}`), '-o', 'json');
    return new Program(args, { cwd: dir, environment: this.#secured?.environment ?? {}, ...what });
  }

  #worker(name: string, what: Pick<ProgramOptions, 'main'>): Program {
    const { dir } = this.#options;
    const where = [...this.#coordinators.values()].map(({ listen }) => `127.0.0.1:${listen}`).join(',');
    const args = ['worker', 'join', where, '--name', name, '--slots', '1'];
    args.push(...(this.#secured ? ['--ca-fingerprint', this.#fingerprint] : ['--insecure']));
    return new Program([...args, '--scratch-dir', join(dir, `scratch-${name}`)], {
      cwd: dir,
      environment: { BATCHMILL_TOKEN: this.#token },
      ...what,
    });
  }
}

/** What `coordinator start` has written for whoever started it: a line behind the one that says that it serves. */
async function contextIn(dir: string): Promise<Context> {
  const local = async (): Promise<Context | null> =>
    (await readContexts({ XDG_CONFIG_HOME: join(dir, '.config') })).byName.get('local') ?? null;
  return await until(local, 'the context of whoever started it');
}

async function startNats(dir: string, count: number, more: string): Promise<readonly NatsServer[]> {
  const routes = count === 1 ? [] : await freePorts(count);
  const ports = count === 1 ? [-1] : await freePorts(count);
  const servers = ports.map((port, index) => {
    const own = join(dir, `nats-${index}`);
    mkdirSync(own, { recursive: true });
    return new NatsServer(
      own,
      count === 1 ? { more } : { more, port, name: `n${index}`, route: routes[index] ?? 0, routes },
    );
  });
  await Promise.all(servers.map((server) => server.start()));
  return servers;
}
