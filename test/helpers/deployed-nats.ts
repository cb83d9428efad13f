/** The NATS servers of deploy/nats as an operator sets them up, with ports, folders and addresses of a test in their places. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';
import { until } from './programs.ts';

const serverNames = ['alpha', 'beta', 'gamma'];
export const natsProgram = packageFile('.venv-stores', 'bin', 'nats-server');

export const natsPasswords = {
  NATS_BATCHMILL_PASSWORD: 'of-the-coordinator',
  NATS_LISTENER_PASSWORD: 'of-a-listener',
  NATS_OPERATOR_PASSWORD: 'of-an-operator',
};

/** So many ports that are free now. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** What `places` names, once or more; one that is not there any more is told. */
function replaced(text: string, places: readonly (readonly [from: string, to: string])[]): string {
  return places.reduce((known, [from, to]) => {
    if (!known.includes(from)) throw new Error(`deploy/nats has no ${from}`);
    return known.replaceAll(from, to);
  }, text);
}

export class DeployedNats {
  readonly #dir: string;
  readonly #children = new Map<string, ChildProcess>();
  readonly #logs = new Map<string, string>();
  #addresses: readonly string[] = [];

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** All three, as one cluster that has elected. `dir` is the test's own. */
  static async start(dir: string): Promise<DeployedNats> {
    const nats = new DeployedNats(dir);
    const made = spawnSync(packageFile('deploy', 'nats', 'certificates.sh'), [nats.#tls, ...serverNames], {
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`certificates.sh: ${made.stderr}`);
    const ports = await freePorts(9);
    const health = ports.slice(6);
    nats.#addresses = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
    try {
      serverNames.forEach((name, at) => nats.#start(name, ports, at));
      await until(
        async () => (await Promise.all(health.map(isWell))).every(Boolean) || undefined,
        'three NATS servers that are well',
      );
    } catch (error) {
      await nats.close();
      throw new Error(`${(error as Error).message}: ${nats.log}`, { cause: error });
    }
    return nats;
  }

  /** As `--journal` takes them. */
  get addresses(): string {
    return this.#addresses.join(',');
  }

  /** With which a coordinator shows who it is, and trusts them. */
  get environment(): Readonly<Record<string, string>> {
    const password = join(this.#dir, 'nats.password');
    writeFileSync(password, `${natsPasswords.NATS_BATCHMILL_PASSWORD}\n`);
    return {
      ...{ BATCHMILL_NATS_USER: 'batchmill', BATCHMILL_NATS_PASSWORD_FILE: password },
      BATCHMILL_NATS_CA: join(this.#tls, 'ca.pem'),
    };
  }

  /** What all of them have said. */
  get log(): string {
    return [...this.#logs.values()].join('');
  }

  /** What `nats-server -t` says to the files of the first one. */
  judge(): { readonly status: number | null; readonly said: string } {
    const [name = ''] = serverNames;
    const { status, stderr } = spawnSync(natsProgram, ['-t', '-c', this.#config(name)], {
      encoding: 'utf8',
      env: this.#environment(name),
    });
    return { status, said: stderr };
  }

  async close(): Promise<void> {
    const children = [...this.#children.values()].filter(({ exitCode }) => exitCode === null);
    this.#children.clear();
    const ends = children.map((child) => once(child, 'exit'));
    for (const child of children) child.kill();
    await Promise.all(ends);
  }

  get #tls(): string {
    return join(this.#dir, 'tls');
  }

  #config(name: string): string {
    return join(this.#dir, name, 'nats-server.conf');
  }

  #environment(name: string): NodeJS.ProcessEnv {
    return { ...process.env, ...natsPasswords, NATS_NAME: name };
  }

  #start(name: string, ports: readonly number[], at: number): void {
    const dir = join(this.#dir, name);
    mkdirSync(dir);
    const text = readFileSync(packageFile('deploy', 'nats', 'nats-server.conf'), 'utf8');
    const places: (readonly [string, string])[] = [
      ['0.0.0.0:4222', `127.0.0.1:${ports[at]}`],
      ['0.0.0.0:6222', `127.0.0.1:${ports[at + 3]}`],
      ['127.0.0.1:8222', `127.0.0.1:${ports[at + 6]}`],
      ...serverNames.map((other, its): [string, string] => [`${other}:6222`, `127.0.0.1:${ports[its + 3]}`]),
      ['/etc/nats/tls/server', join(this.#tls, name)],
      ['/etc/nats/tls', this.#tls],
      ['/var/lib/nats', join(dir, 'store')],
      ['64GB', '1GB'],
    ];
    writeFileSync(this.#config(name), replaced(text, places));
    writeAccounts(join(dir, 'accounts.conf'));
    const child = spawn(natsProgram, ['-c', this.#config(name)], {
      env: this.#environment(name),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#children.set(name, child);
    child.stderr.on('data', (bytes: Buffer) =>
      this.#logs.set(name, `${this.#logs.get(name) ?? ''}${bytes.toString()}`),
    );
  }
}

/** The accounts of deploy/nats, with less room. */
export function writeAccounts(path: string): void {
  const text = readFileSync(packageFile('deploy', 'nats', 'accounts.conf'), 'utf8');
  writeFileSync(path, replaced(text, [['64GB', '1GB']]));
}

async function isWell(port: number): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => null);
  return answer?.ok ?? false;
}
