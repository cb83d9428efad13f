/** A coordinator as the program starts it, in a process of its own, with a way to ask for its memory and processor time. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Address } from '../../common/config/address.ts';
import { compiledFile } from '../../common/io/package-files.ts';

const host = `
  const { startCoordinator } = await import(process.argv[2]);
  const coordinator = await startCoordinator(JSON.parse(process.argv[3]));
  const { listen, http, joinToken, access } = coordinator;
  const token = access && (await access.makeAdminToken('bench'));
  process.send({ listen, http, joinToken, authority: access?.authority ?? null, fingerprint: access?.fingerprint ?? null, token });
  process.on('message', () => {
    for (let round = 0; round < 4; round += 1) globalThis.gc();
    const { heapUsed, external, rss } = process.memoryUsage();
    process.send({ heapUsed, external, rss });
  });
`;

export interface Served {
  readonly listen: Address;
  readonly http: Address;
  readonly joinToken: string;
  readonly authority: string | null;
  readonly fingerprint: string | null;
  readonly token: string | null;
}

export interface Memory {
  readonly heapUsed: number;
  readonly external: number;
  readonly rss: number;
}

export class CoordinatorProcess {
  readonly served: Served;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, served: Served) {
    this.#child = child;
    this.served = served;
  }

  /** `dir`: of the bench. `ports`: those of the one before; 0: any. */
  static async start(options: {
    readonly dir: string;
    readonly stateDir: string;
    readonly isTls: boolean;
    readonly ports: { readonly listen: number; readonly http: number };
  }): Promise<CoordinatorProcess> {
    const { dir, stateDir, isTls, ports } = options;
    const file = join(dir, 'host.mjs');
    writeFileSync(file, host);
    const local = (port: number): Address => ({ host: '127.0.0.1', port });
    const settings = {
      ...{ stateDir, listen: local(ports.listen), http: local(ports.http), heartbeatMs: null },
      ...{ isInsecure: !isTls, joinTokenMs: 3_600_000, keepFinishedMs: null },
    };
    const args = ['--expose-gc', file, compiledFile('coordinator', 'coordinator.js'), JSON.stringify(settings)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'ignore', 'ipc'] });
    return new CoordinatorProcess(child, await answer<Served>(child));
  }

  /** After a collection of garbage. */
  memory(): Promise<Memory> {
    this.#child.send('memory');
    return answer<Memory>(this.#child);
  }

  /** Seconds of processor time so far. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}

function answer<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error('the coordinator has ended'));
    child.once('close', ended);
    child.once('message', (message) => {
      child.off('close', ended);
      resolve(message as T);
    });
  });
}
