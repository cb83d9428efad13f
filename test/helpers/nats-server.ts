/** A real NATS server with JetStream on a free port of loopback, ended by the process id that it was started as. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { packageFile } from '../../common/io/package-files.ts';

export interface NatsOptions {
  /** By default a free one. */
  readonly port?: number;
  /** One of several: its name, its own port for the others, and those of all. */
  readonly name?: string;
  readonly route?: number;
  readonly routes?: readonly number[];
  /** More lines of its configuration; within `{ }` of JetStream. */
  readonly more?: string;
  readonly jetstream?: string;
  /** By default the one of the test environment. */
  readonly program?: string;
}

export class NatsServer {
  readonly #dir: string;
  readonly #options: NatsOptions;
  #child: ChildProcess | null = null;
  #port = -1;
  /** What it has said. */
  log = '';

  /** `dir`: for its files; begun again over them, it has what it had. */
  constructor(dir: string, options: NatsOptions = {}) {
    this.#dir = dir;
    this.#options = options;
    this.#port = options.port ?? -1;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** On the port that it had, if it had one. */
  async start(): Promise<this> {
    const { program = packageFile('.venv-stores', 'bin', 'nats-server') } = this.#options;
    if (!existsSync(program))
      throw new Error(`${program} does not exist: \`npm test\` makes it, or: node scripts/test-servers.mjs`);
    const ports = join(this.#dir, 'ports');
    mkdirSync(ports, { recursive: true });
    const { jetstream = 'sync_interval: always', more = '' } = this.#options;
    const config = join(this.#dir, 'nats.conf');
    writeFileSync(
      config,
      `host: 127.0.0.1\nport: ${this.#port}\nports_file_dir: ${JSON.stringify(ports)}\n` +
        `jetstream { store_dir: ${JSON.stringify(join(this.#dir, 'store'))}, ${jetstream} }\n` +
        `${this.#cluster()}${more}\n`,
    );
    const child = spawn(program, ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', (bytes: Buffer) => (this.log += bytes.toString()));
    const file = `nats-server_${child.pid}.ports`;
    while (!readdirSync(ports).includes(file) || readFileSync(join(ports, file), 'utf8') === '') {
      if (child.exitCode !== null) throw new Error(`nats-server ended with ${child.exitCode}: ${this.log}`);
      await pause(10);
    }
    const { nats } = JSON.parse(readFileSync(join(ports, file), 'utf8')) as { readonly nats: readonly [string] };
    this.#port = Number(new URL(nats[0]).port);
    return this;
  }

  /** Clients are told of none but the servers that they know: each has a proxy of its own. */
  #cluster(): string {
    const { name, route, routes } = this.#options;
    if (name === undefined || !routes) return '';
    const all = routes.map((port) => `nats-route://127.0.0.1:${port}`);
    return `server_name: ${name}\ncluster { name: test, listen: "127.0.0.1:${route}", no_advertise: true, routes: ${JSON.stringify(all)} }\n`;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGHUP'): void {
    this.#child?.kill(signal);
  }

  /** As by a crash. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}
