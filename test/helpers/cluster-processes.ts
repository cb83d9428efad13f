/** A coordinator and worker nodes as processes of their own on free ports, with all that they keep in one folder. */
import { join } from 'node:path';
import { createClient, type Client } from '../../cli/client.ts';
import { parseAddress } from '../../common/config/address.ts';
import { readContexts, type Context } from '../../common/config/contexts.ts';
import { invariant } from '../../common/core/invariant.ts';
import type { JobView, NodeView } from '../../coordinator/api/backend.ts';
import { Program, runProgram, until, type ProgramEnd, type ProgramOptions } from './programs.ts';

export interface ClusterOptions {
  /** Exists; the test removes it. */
  readonly dir: string;
  /** As `--heartbeat-interval` takes it. */
  readonly heartbeat?: string;
  /** Default: `state` in `dir`. */
  readonly stateDir?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** TLS, tokens and certificates, as `coordinator start` does unless told otherwise; default: `--insecure`. */
  readonly isSecure?: boolean;
  /** More arguments of `coordinator start`. */
  readonly more?: readonly string[];
}

export interface WorkerOptions extends Pick<ProgramOptions, 'prefix' | 'environment'> {
  readonly slots?: number;
  /** Where it joins when not at the coordinator's own address: a proxy. */
  readonly coordinator?: string;
  readonly python?: string;
  readonly token?: string;
  readonly fingerprint?: string;
}

export class ClusterProcesses {
  readonly dir: string;
  readonly stateDir: string;
  listen = '127.0.0.1:0';
  http = '127.0.0.1:0';
  /** To join with. */
  token = '';
  /** Of the cluster's authority; empty where everything is in the clear. */
  fingerprint = '';
  coordinator: Program;
  readonly #options: ClusterOptions;
  #context: Context | null = null;
  #client: Client | null = null;

  private constructor(options: ClusterOptions) {
    this.#options = options;
    this.dir = options.dir;
    this.stateDir = options.stateDir ?? join(options.dir, 'state');
    this.coordinator = this.#start();
  }

  /** Serves when it resolves. */
  static async start(options: ClusterOptions): Promise<ClusterProcesses> {
    const cluster = new ClusterProcesses(options);
    await cluster.#serves();
    return cluster;
  }

  /** The same state directory and the same ports, as an operator would; serves when it resolves. */
  async restartCoordinator(): Promise<void> {
    await this.coordinator.ended;
    this.coordinator = this.#start();
    await this.#serves();
  }

  /** Has joined when it resolves. */
  async startWorker(name: string, options: WorkerOptions = {}): Promise<Program> {
    const worker = this.worker(name, options);
    await worker.says(/joined .* with \d+ slots/);
    return worker;
  }

  /** Started, whatever becomes of it. */
  worker(name: string, options: WorkerOptions = {}): Program {
    const { slots = 2, python, prefix = [], environment = {}, coordinator = this.listen } = options;
    const { token = this.token, fingerprint = this.fingerprint } = options;
    const args = ['worker', 'join', coordinator, '--name', name, '--slots', String(slots)];
    args.push('--scratch-dir', this.scratchDir(name), ...(python ? ['--python', python] : []));
    if (!this.#options.isSecure) args.push('--insecure');
    else if (fingerprint !== '') args.push('--ca-fingerprint', fingerprint);
    return new Program(args, {
      cwd: this.dir,
      prefix,
      environment: { ...this.#environment, ...environment, BATCHMILL_TOKEN: token },
    });
  }

  /** Of one worker node. */
  scratchDir(name: string): string {
    return join(this.dir, `scratch-${name}`);
  }

  /** Of the one who started the coordinator; one for all that is asked: each would keep a connection of its own. */
  get client(): Client {
    invariant(this.#client !== null, 'the coordinator has not said where it is');
    return this.#client;
  }

  /** How whoever started the coordinator reaches it. @throws where everything is in the clear */
  get context(): Context {
    invariant(this.#context !== null, 'the cluster serves without TLS');
    return this.#context;
  }

  /** Runs a client command against this cluster to its end. */
  async cli(args: readonly string[], timeoutMs = 60_000): Promise<ProgramEnd> {
    const options = { cwd: this.dir, environment: this.#environment };
    return await runProgram([...args, '--server', this.http], options, timeoutMs);
  }

  /** Submits and answers with the job's name. @throws with what the command said when it was refused */
  async submit(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.cli(['job', 'submit', ...args]);
    if (code !== 0) throw new Error(`job submit ended with ${code}: ${stderr}`);
    return (JSON.parse(stdout) as JobView).name;
  }

  /** The job once `holds` is true of it. A coordinator that is away for a moment is waited for. */
  async job(name: string, holds: (job: JobView) => boolean, what: string, timeoutMs = 60_000): Promise<JobView> {
    let last: JobView | null = null;
    const probe = async (): Promise<JobView | null> => {
      last = await this.client.show(name).catch(() => null);
      return last && holds(last) ? last : null;
    };
    try {
      return await until(probe, what, timeoutMs, () => this.coordinator.end !== null);
    } catch (error) {
      const found = JSON.stringify(last, null, 1);
      throw new Error(`${(error as Error).message}; ${name} is ${found}\n${this.coordinator.report()}`, {
        cause: error,
      });
    }
  }

  /** The node once `holds` is true of it. */
  async node(name: string, holds: (node: NodeView) => boolean, what: string, timeoutMs = 60_000): Promise<NodeView> {
    const probe = async (): Promise<NodeView | undefined> =>
      (await this.client.nodes()).find((node) => node.name === name && holds(node));
    return await until(probe, `${name}: ${what}`, timeoutMs, () => this.coordinator.end !== null);
  }

  /** Contexts of the person who runs the test are not touched. */
  get #environment(): Readonly<Record<string, string>> {
    return { XDG_CONFIG_HOME: join(this.dir, 'config'), ...this.#options.environment };
  }

  #start(): Program {
    const { heartbeat, isSecure, more = [] } = this.#options;
    const args = ['coordinator', 'start', '--listen', this.listen, '--http', this.http, '--state-dir', this.stateDir];
    if (heartbeat) args.push('--heartbeat-interval', heartbeat);
    if (!isSecure) args.push('--insecure');
    return new Program([...args, ...more, '-o', 'json'], { cwd: this.dir, environment: this.#environment });
  }

  async #serves(): Promise<void> {
    const parsed = await this.coordinator.until(() => parseAnswer(this.coordinator.stdout), 'an answer of where it is');
    this.listen = parsed.listen;
    this.http = parsed.http;
    this.token = / --token (\S+)/.exec(parsed.join)?.[1] ?? '';
    this.fingerprint = / --ca-fingerprint (\S+)/.exec(parsed.join)?.[1] ?? '';
    const contexts = await readContexts(this.#environment);
    this.#context = contexts.byName.get('local') ?? null;
    const server = parseAddress(this.http, 'http');
    this.#client = createClient(this.#context ?? { server, ca: null, token: null, isInsecure: true });
  }
}

interface Answer {
  readonly listen: string;
  readonly http: string;
  readonly join: string;
}

/** Null while it has not been written whole. */
function parseAnswer(text: string): Answer | null {
  return text.trimEnd().endsWith('}') ? (JSON.parse(text) as Answer) : null;
}
