/** A coordinator and worker nodes as processes of their own on free ports, with all that they keep in one folder. */
import { join } from 'node:path';
import { createClient, type Client } from '../../cli/client.ts';
import { parseAddress } from '../../common/config/address.ts';
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
}

export interface WorkerOptions extends Pick<ProgramOptions, 'prefix' | 'environment'> {
  readonly slots?: number;
  /** Where it joins when not at the coordinator's own address: a proxy. */
  readonly coordinator?: string;
  readonly python?: string;
  readonly token?: string;
}

export class ClusterProcesses {
  readonly dir: string;
  readonly stateDir: string;
  listen = '127.0.0.1:0';
  http = '127.0.0.1:0';
  token = '';
  coordinator: Program;
  readonly #options: ClusterOptions;

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
    const { slots = 2, python, token = this.token, prefix = [], environment = {}, coordinator = this.listen } = options;
    const args = ['worker', 'join', coordinator, '--name', name, '--slots', String(slots)];
    args.push('--scratch-dir', this.scratchDir(name), ...(python ? ['--python', python] : []));
    return new Program(args, {
      cwd: this.dir,
      prefix,
      environment: { ...this.#options.environment, ...environment, BATCHMILL_TOKEN: token },
    });
  }

  /** Of one worker node. */
  scratchDir(name: string): string {
    return join(this.dir, `scratch-${name}`);
  }

  get client(): Client {
    return createClient(parseAddress(this.http, 'http'));
  }

  /** Runs a client command against this cluster to its end. */
  async cli(args: readonly string[], timeoutMs = 60_000): Promise<ProgramEnd> {
    return await runProgram([...args, '--server', this.http], { cwd: this.dir }, timeoutMs);
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

  #start(): Program {
    const { heartbeat, environment } = this.#options;
    const args = ['coordinator', 'start', '--listen', this.listen, '--http', this.http, '--state-dir', this.stateDir];
    if (heartbeat) args.push('--heartbeat-interval', heartbeat);
    return new Program([...args, '-o', 'json'], { cwd: this.dir, ...(environment ? { environment } : {}) });
  }

  async #serves(): Promise<void> {
    const parsed = await this.coordinator.until(() => parseAnswer(this.coordinator.stdout), 'an answer of where it is');
    this.listen = parsed.listen;
    this.http = parsed.http;
    this.token = / --token (\S+)/.exec(parsed.join)?.[1] ?? '';
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
