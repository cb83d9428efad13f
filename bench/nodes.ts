/**
 * What worker nodes cost a coordinator as they become many: 10, 100 and 1,000 of them (`NODES_COUNTS`) over real gRPC connections of
 * their own, with heartbeats and leases. They score nothing: each holds one lease at a time for as long as makes `NODES_RATE` (500)
 * mini-batches a second of all of them. Of the coordinator, a process of its own: processor time and memory; of leases: the time
 * from the report that asks for one to its arrival. All nodes are simulated in this process, whose own load the latency includes; its
 * processor time is told apart. `NODES_AT_ONCE` (200) of them are joining at a time. With `NODES_TLS=1` they enroll and speak mTLS.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { createClient } from '../cli/client.ts';
import { formatAddress, type Address } from '../common/config/address.ts';
import { loadDeployment } from '../common/config/deployment-file.ts';
import { emptyNodeMessage, type Grant, type NodeMessage } from '../common/core/cluster-messages.ts';
import { incarnation, nodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Token } from '../common/core/token.ts';
import { systemClock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { silentLog } from '../common/io/log.ts';
import { compiledFile, packageRelease } from '../common/io/package-files.ts';
import { plainTrust, type ClusterTrust } from '../common/rpc/credentials.ts';
import { ControlLink } from '../worker/control-link.ts';
import { CoordinatorAddresses } from '../worker/coordinator-addresses.ts';
import { NodeIdentity } from '../worker/node-identity.ts';
import { until } from '../test/helpers/programs.ts';

const counts = (process.env['NODES_COUNTS'] ?? '10,100,1000').split(',').map(Number);
const rate = Number(process.env['NODES_RATE'] ?? 500);
const measuredMs = Number(process.env['NODES_SECONDS'] ?? 20) * 1_000;
const atOnce = Number(process.env['NODES_AT_ONCE'] ?? 200);
const isTls = process.env['NODES_TLS'] === '1';
const forever = new AbortController().signal;
const rows = Buffer.from('x\n');
/** Joins and connections that were lost, and tried again. */
let lost = 0;

/** The coordinator as the program starts it, with a way to ask for its memory. */
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

interface Served {
  readonly listen: Address;
  readonly http: Address;
  readonly joinToken: string;
  readonly authority: string | null;
  readonly fingerprint: string | null;
  readonly token: string | null;
}

interface Memory {
  readonly heapUsed: number;
  readonly external: number;
  readonly rss: number;
}

function ask<T>(child: ChildProcess, question: string | null): Promise<T> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as T));
    child.once('close', () => reject(new Error('the coordinator has ended')));
    if (question !== null) child.send(question);
  });
}

/** Seconds of processor time of a process so far. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** One lease at a time, a heartbeat in its time, and nothing else. */
class SimulatedNode {
  #link: ControlLink;
  #isClosed = false;
  readonly #leaseMs: number[];
  readonly #ackMs: number[];
  #held: Token[] = [];
  #askedAt = 0;
  #beats = 0;
  #beatAt = 0;
  #timer: NodeJS.Timeout | null = null;
  scored = 0;
  readonly joined: Promise<void>;

  constructor(options: {
    readonly name: string;
    readonly address: string;
    readonly trust: () => ClusterTrust;
    readonly joinToken: string;
    readonly scoreMs: number;
    readonly leaseMs: number[];
    readonly ackMs: number[];
  }) {
    const { name, address, trust, joinToken, scoreMs } = options;
    this.#leaseMs = options.leaseMs;
    this.#ackMs = options.ackMs;
    const request = {
      ...{ protocol: limits.protocolVersion, release: packageRelease(), joinToken, name: nodeName(name) },
      ...{
        incarnation: incarnation(`${name}-1`),
        slots: 1,
        hostname: name,
        pid: 1,
        labels: {},
        answersDiagnose: false,
      },
    };
    let onJoined = (): void => undefined;
    this.joined = new Promise((resolve) => (onJoined = resolve));
    const newLink = (): ControlLink =>
      new ControlLink({
        ...{ address, trust, request, clock: systemClock },
        onJoined: (reply) => {
          this.#link.open(reply.session);
          this.#say({ hello: [], want: 1 });
          this.#timer = setInterval(() => this.#beat(), reply.heartbeatMs);
          onJoined();
        },
        onLost: (failure) => {
          if (this.#isClosed) return;
          lost += 1;
          if (lost === 1) console.error(name, failure.code, failure.message);
          if (this.#timer) clearInterval(this.#timer);
          this.#held = [];
          setTimeout(() => {
            this.#link = newLink();
            this.#link.join();
          }, 1_000);
        },
        onMessage: ({ grants, committed, heartbeatAck }) => {
          if (heartbeatAck > 0) this.#ackMs.push(systemClock.monotonic() - this.#beatAt);
          for (const token of committed) this.#held = this.#held.filter(({ counter }) => counter !== token.counter);
          for (const grant of grants) this.#take(grant, scoreMs);
        },
        onWritable: () => undefined,
        inlineOf: () => rows,
      });
    this.#link = newLink();
    this.#link.join();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer) clearInterval(this.#timer);
    this.#link.close();
  }

  #take({ token }: Grant, scoreMs: number): void {
    this.#leaseMs.push(systemClock.monotonic() - this.#askedAt);
    this.#held.push(token);
    // Spread, so that nodes do not come in step.
    setTimeout(() => this.#report(token), scoreMs * (0.5 + Math.random()));
  }

  #report(token: Token): void {
    this.scored += 1;
    const summary = {
      ...{
        rows: 1,
        attribution: 'file' as const,
        fileRows: [1],
        failed: [],
        schema: { columns: ['x:utf8'], prologue: '' },
      },
      ...{ runSeconds: 0.001, peakMemoryBytes: null },
    };
    const parts = { bytes: rows.length, crc32: crc32(rows), customBytes: 0, customCrc32: 0, isUploaded: false };
    this.#say({ want: 1, results: [{ token, summary, ...parts }] });
  }

  #beat(): void {
    this.#beats += 1;
    this.#beatAt = systemClock.monotonic();
    this.#link.send({
      ...emptyNodeMessage,
      heartbeat: { sequence: this.#beats, held: this.#held, slotsBusy: this.#held.length, rssBytes: 1 },
    });
  }

  #say(message: Partial<NodeMessage>): void {
    this.#askedAt = systemClock.monotonic();
    this.#link.send({ ...emptyNodeMessage, ...message });
  }
}

function cpuSecondsOf({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1_000_000;
}

const rounded = (value: number): number => Math.round(value * 100) / 100;

function quantiles(values: number[]): Record<string, number> {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => rounded(sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN);
  return { count: sorted.length, p50Ms: at(0.5), p95Ms: at(0.95), maxMs: at(1) };
}

async function measure(dir: string, deployment: string, input: string, nodes: number): Promise<void> {
  const local = { host: '127.0.0.1', port: 0 };
  const settings = { stateDir: join(dir, `state-${nodes}`), listen: local, http: local, heartbeatMs: null };
  const rest = { isInsecure: !isTls, joinTokenMs: 3_600_000, keepFinishedMs: null };
  const args = ['--expose-gc', join(dir, 'host.mjs'), compiledFile('coordinator', 'coordinator.js')];
  const child = spawn(process.execPath, [...args, JSON.stringify({ ...settings, ...rest })], {
    stdio: ['ignore', 'inherit', 'ignore', 'ipc'],
  });
  const pid = child.pid as number;
  const running: SimulatedNode[] = [];
  const identities: NodeIdentity[] = [];
  try {
    const { listen, http, joinToken, authority, fingerprint, token } = await ask<Served>(child, null);
    const client = createClient({ server: http, ca: authority, token, isInsecure: !isTls });
    const empty = await ask<Memory>(child, 'memory');
    const place = {
      inputPath: input,
      outputDir: join(dir, `out-${nodes}`),
      isOverwrite: true,
      since: null,
      name: null,
    };
    const job = await client.submit({ deployment: await loadDeployment(deployment), ...place });
    const leaseMs: number[] = [];
    const ackMs: number[] = [];
    const address = formatAddress(listen);
    const [joinFrom, joinCpu, joinOwn] = [systemClock.monotonic(), cpuSeconds(pid), process.cpuUsage()];
    const join_ = async (index: number): Promise<void> => {
      const own = `node-${index}`;
      let trust: () => ClusterTrust = () => plainTrust;
      if (isTls) {
        const dirOf = join(dir, `identity-${nodes}`, own);
        mkdirSync(dirOf, { recursive: true });
        const times = { joinMsMax: 300_000, clock: systemClock, log: silentLog };
        const identity = await NodeIdentity.open({
          addresses: new CoordinatorAddresses([address]),
          name: own,
          dir: dirOf,
          token: joinToken,
          fingerprint,
          ...times,
        });
        identities.push(identity);
        trust = () => identity.trust;
      }
      const scoreMs = (nodes * 1_000) / rate;
      const node = new SimulatedNode({ name: own, address, trust, joinToken, scoreMs, leaseMs, ackMs });
      running.push(node);
      await node.joined;
    };
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < nodes) await join_(next++);
    };
    await Promise.all(Array.from({ length: Math.min(nodes, atOnce) }, lane));
    const lostJoining = lost;
    const joins = {
      joinSeconds: rounded((systemClock.monotonic() - joinFrom) / 1_000),
      joinCpuSeconds: rounded(cpuSeconds(pid) - joinCpu),
      ownJoinCpuSeconds: rounded(cpuSecondsOf(process.cpuUsage(joinOwn))),
    };
    await until(async () => (await client.show(job.name)).files.scored >= nodes, 'the first results', 120_000);
    await delay(2_000, forever);
    lost = 0;
    leaseMs.length = 0;
    ackMs.length = 0;
    const scored = (): number => running.reduce((sum, node) => sum + node.scored, 0);
    const before = { at: systemClock.monotonic(), cpu: cpuSeconds(pid), own: process.cpuUsage(), scored: scored() };
    await delay(measuredMs, forever);
    const seconds = (systemClock.monotonic() - before.at) / 1_000;
    const own = process.cpuUsage(before.own);
    const cpu = cpuSeconds(pid) - before.cpu;
    const done = scored() - before.scored;
    const memory = await ask<Memory>(child, 'memory');
    const perNode = (memory.heapUsed + memory.external - empty.heapUsed - empty.external) / nodes / 1_024;
    console.log(
      JSON.stringify({
        ...{ bench: 'nodes', nodes, tls: isTls, ...joins, seconds: rounded(seconds) },
        ...{ miniBatchesPerSecond: Math.round(done / seconds), cpuPercent: rounded((100 * cpu) / seconds) },
        ...{
          ownCpuPercent: rounded((100 * cpuSecondsOf(own)) / seconds),
          residentMiB: Math.round(memory.rss / 1_048_576),
        },
        ...{
          kibPerNode: rounded(perNode),
          lostJoining,
          lost,
          lease: quantiles(leaseMs),
          heartbeatAnswer: quantiles(ackMs),
        },
      }),
    );
  } finally {
    for (const node of running) node.close();
    for (const identity of identities) identity.close();
    child.kill('SIGKILL');
  }
}

const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
try {
  writeFileSync(join(dir, 'host.mjs'), host);
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'nothing.mjs'), 'export function run(files) {\n  return files;\n}\n');
  const deployment = join(dir, 'nothing.yml');
  const code = `code_configuration:\n  code: ${join(dir, 'code')}\n  scoring_script: nothing.mjs\n`;
  writeFileSync(deployment, `name: nothing\n${code}mini_batch_size: 1\n`);
  const files = Math.ceil((rate * (measuredMs / 1_000 + 60) * 1.5) / 1_000) * 1_000;
  const input = join(dir, 'in');
  for (let file = 0; file < files; file += 1) {
    const folder = join(input, `part-${Math.floor(file / 1_000)}`);
    if (file % 1_000 === 0) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file-${file}.txt`), '');
  }
  for (const count of counts) await measure(dir, deployment, input, count);
} finally {
  await rm(dir, { recursive: true, force: true });
}
process.exit();
