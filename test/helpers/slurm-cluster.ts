/**
 * A real Slurm of one's own: munged, slurmctld and some slurmd on this machine, on free ports, with all that they keep in one folder,
 * ended by the process ids that they were started as. Debian's packages slurm-wlm and munge must be there, and the user be root.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { until } from './programs.ts';

/** Why there is no Slurm to test with; null: there is one. */
export function slurmLack(): string | null {
  const missing = ['munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue'].filter(
    (program) => spawnSync('which', [program], { env: { ...process.env, PATH: path } }).status !== 0,
  );
  if (missing.length > 0) return `${missing.join(', ')} cannot be found (Debian: apt-get install slurm-wlm munge)`;
  return process.getuid?.() === 0 ? null : 'slurmd starts jobs as root alone';
}

const path = `${process.env['PATH']}:/usr/sbin:/sbin`;

export class SlurmCluster {
  readonly dir: string;
  readonly #nodes: number;
  readonly #running: ChildProcess[] = [];

  /** `dir`: exists, and only root may write to it and to those above it. */
  constructor(dir: string, nodes: number) {
    this.dir = dir;
    this.#nodes = nodes;
  }

  /** What Slurm's commands find it by. */
  get environment(): Readonly<Record<string, string>> {
    return { SLURM_CONF: join(this.dir, 'slurm.conf'), PATH: path };
  }

  /** All nodes are idle when it resolves. */
  async start(): Promise<this> {
    for (const name of ['state', 'spool']) mkdirSync(join(this.dir, name));
    const key = join(this.dir, 'munge.key');
    writeFileSync(key, randomBytes(1_024), { mode: 0o600 });
    const ports = await freePorts(this.#nodes + 1);
    writeFileSync(join(this.dir, 'slurm.conf'), configuration(this.dir, ports));
    const at = (name: string): string => join(this.dir, name);
    this.#run('munged', [
      ...['--foreground', '--force', `--socket=${at('munge.sock')}`, `--key-file=${key}`],
      ...[`--pid-file=${at('munge.pid')}`, `--log-file=${at('munge.log')}`, `--seed-file=${at('munge.seed')}`],
    ]);
    await until(() => existsSync(at('munge.sock')), 'munged');
    this.#run('slurmctld', ['-D', '-c']);
    for (let node = 1; node <= this.#nodes; node += 1) this.#run('slurmd', ['-D', '-N', `n${node}`]);
    const idle = (): boolean =>
      this.ask('sinfo', ['-h', '-N', '-t', 'idle', '-o', '%N']).split('\n').length === this.#nodes;
    await until(idle, 'idle nodes', 60_000).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${this.report()}`, { cause: error });
    });
    return this;
  }

  /** Runs one of Slurm's commands. @throws with what it said when it failed */
  ask(command: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}): string {
    const options = {
      cwd: this.dir,
      env: { ...process.env, ...this.environment, ...environment },
      encoding: 'utf8',
    } as const;
    const { status, stdout, stderr } = spawnSync(command, [...args], options);
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr}`);
    return stdout.trim();
  }

  /** Lines of `squeue` in a format of its own. */
  queue(format: string, ...more: readonly string[]): readonly string[] {
    return this.ask('squeue', ['-h', '-o', format, ...more])
      .split('\n')
      .filter((line) => line !== '');
  }

  /** Jobs end first, so that nothing of them is left. */
  async stop(): Promise<void> {
    if (this.#running.length === 0) return;
    const own = existsSync(join(this.dir, 'slurm.conf'));
    if (own) spawnSync('scancel', ['--user=root'], { env: { ...process.env, ...this.environment } });
    await until(() => this.queue('%i').length === 0, 'the end of all jobs', 30_000).catch(() => undefined);
    for (const child of this.#running.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    }
    this.#running.length = 0;
  }

  /** The last that its processes said, for messages of failures. */
  report(): string {
    return ['munged', 'slurmctld', 'slurmd']
      .map((name) => `--- ${name}\n${readFileSync(join(this.dir, `${name}.out`), 'utf8').slice(-2_000)}`)
      .join('\n');
  }

  #run(program: string, args: readonly string[]): void {
    const out = openSync(join(this.dir, `${program}.out`), 'a');
    const env = { ...process.env, ...this.environment };
    this.#running.push(spawn(program, [...args], { cwd: this.dir, env, stdio: ['ignore', out, out] }));
  }
}

/** Without cgroups and accounting; machines have more processors than this one, which nobody checks. */
function configuration(dir: string, [controller, ...nodes]: readonly number[]): string {
  const host = hostname().split('.')[0];
  const machines = nodes.map(
    (port, index) =>
      `NodeName=n${index + 1} NodeAddr=127.0.0.1 NodeHostname=${host} Port=${port} CPUs=8 RealMemory=500`,
  );
  return `ClusterName=batchmill-test
SlurmctldHost=${host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=${dir}/munge.sock
CredType=cred/munge
SlurmctldPort=${controller}
SlurmctldPidFile=${dir}/slurmctld.pid
SlurmdPidFile=${dir}/slurmd.%n.pid
StateSaveLocation=${dir}/state
SlurmdSpoolDir=${dir}/spool/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=5
OverTimeLimit=0
${machines.join('\n')}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`;
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ports.push((server.address() as AddressInfo).port);
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
