/**
 * What worker nodes cost a coordinator as they become many: 10, 100 and 1,000 of them (`NODES_COUNTS`) over real gRPC connections of
 * their own, with heartbeats and leases. They score nothing: each holds one lease at a time for as long as makes `NODES_RATE` (500)
 * mini-batches a second of all of them. With `NODES_TLS=1` all enrol first, each with a key and a certificate of its own, and speak
 * mTLS. Then all join while a job runs and leases go out, work for `NODES_SECONDS` (20), and lose their coordinator by kill -9: counted is
 * the time from the start of the next one until all are back. The coordinator is a process of its own; all nodes are simulated in
 * this one, whose own load the latencies include. `NODES_AT_ONCE` (200) of them enrol and join at a time; after the restart, all do.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '../cli/client.ts';
import { formatAddress } from '../common/config/address.ts';
import { loadDeployment } from '../common/config/deployment-file.ts';
import { systemClock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { silentLog } from '../common/io/log.ts';
import { plainTrust, type ClusterTrust } from '../common/rpc/credentials.ts';
import { until } from '../test/helpers/programs.ts';
import { CoordinatorAddresses } from '../worker/coordinator-addresses.ts';
import { NodeIdentity } from '../worker/node-identity.ts';
import { CoordinatorProcess } from './nodes/coordinator-process.ts';
import { lateMs, newTally, SimulatedNode } from './nodes/simulated-node.ts';

const counts = (process.env['NODES_COUNTS'] ?? '10,100,1000').split(',').map(Number);
const rate = Number(process.env['NODES_RATE'] ?? 500);
const measuredMs = Number(process.env['NODES_SECONDS'] ?? 20) * 1_000;
const atOnce = Number(process.env['NODES_AT_ONCE'] ?? 200);
const isTls = process.env['NODES_TLS'] === '1';
const forever = new AbortController().signal;
const patienceMs = 600_000;

/** A line of the table: what it is, and what was found. */
type Figures = Record<string, number | string>;

const rounded = (value: number): number => Math.round(value * 100) / 100;
const quantile = (values: readonly number[], share: number): number =>
  rounded([...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))] ?? Number.NaN);

/** All of one count of nodes. */
class Cluster {
  readonly #nodes: number;
  readonly #dir: string;
  readonly #running: SimulatedNode[] = [];
  readonly #identities: NodeIdentity[] = [];
  #coordinator: CoordinatorProcess;
  #tally = newTally();

  private constructor(nodes: number, dir: string, coordinator: CoordinatorProcess) {
    this.#nodes = nodes;
    this.#dir = dir;
    this.#coordinator = coordinator;
  }

  static async start(nodes: number, dir: string): Promise<Cluster> {
    return new Cluster(nodes, dir, await startCoordinator(nodes, dir, { listen: 0, http: 0 }));
  }

  async close(): Promise<void> {
    for (const node of this.#running) node.close();
    for (const identity of this.#identities) identity.close();
    await this.#coordinator.kill();
  }

  async enrol(): Promise<Figures> {
    const { listen, joinToken, fingerprint } = this.#coordinator.served;
    const addresses = new CoordinatorAddresses([formatAddress(listen)]);
    return await this.#timed('enrolled', async (index) => {
      const name = nameOf(index);
      const dir = join(this.#dir, `identity-${this.#nodes}`, name);
      mkdirSync(dir, { recursive: true });
      const times = { joinMsMax: patienceMs, busyMsMax: patienceMs, clock: systemClock, delay, log: silentLog };
      this.#identities[index] = await NodeIdentity.open({
        ...{ addresses, name, dir, token: joinToken, fingerprint },
        ...times,
      });
    });
  }

  async submit(deployment: string, input: string): Promise<void> {
    const { http, authority, token } = this.#coordinator.served;
    const client = createClient({ server: http, ca: authority, token, isInsecure: !isTls });
    const place = { inputPath: input, outputDir: join(this.#dir, `out-${this.#nodes}`), isOverwrite: true };
    await client.submit({ deployment: await loadDeployment(deployment), ...place, since: null, name: null });
  }

  async join(): Promise<Figures> {
    const { listen, joinToken } = this.#coordinator.served;
    const address = formatAddress(listen);
    const begun = systemClock.monotonic();
    const figures = await this.#timed('joined', async (index) => {
      const identity = this.#identities[index];
      const trust = (): ClusterTrust => identity?.trust ?? plainTrust;
      const scoreMs = (this.#nodes * 1_000) / rate;
      const common = { name: nameOf(index), address, trust, joinToken, scoreMs, tally: () => this.#tally };
      const node = new SimulatedNode(common);
      this.#running.push(node);
      await node.joined;
    });
    const seconds = (systemClock.monotonic() - begun) / 1_000;
    const { scored, lost, firstLost } = this.#tally;
    if (firstLost !== null) console.error(firstLost);
    return { ...figures, 'joins tried again': lost, 'leases/s while they joined': Math.round(scored / seconds) };
  }

  /** With the memory of `empty`, before there was a node. */
  async work(empty: number): Promise<Figures> {
    await until(() => Promise.resolve(this.#tally.scored >= this.#nodes), 'the first results', 120_000);
    await delay(2_000, forever);
    this.#tally = newTally();
    const before = { at: systemClock.monotonic(), cpu: this.#coordinator.cpuSeconds(), own: process.cpuUsage() };
    await delay(measuredMs, forever);
    const seconds = (systemClock.monotonic() - before.at) / 1_000;
    const own = cpuSecondsOf(process.cpuUsage(before.own)) / seconds;
    const cpu = (this.#coordinator.cpuSeconds() - before.cpu) / seconds;
    const { scored, lost, leaseMs, ackMs, heartbeatsSent } = this.#tally;
    const memory = await this.#coordinator.memory();
    const late = ackMs.filter((ms) => ms > lateMs).length;
    return {
      'leases/s': Math.round(scored / seconds),
      'lease p50, p95, max ms': [0.5, 0.95, 1].map((share) => quantile(leaseMs, share)).join(', '),
      'heartbeats sent, answered, late': `${heartbeatsSent}, ${ackMs.length}, ${late}`,
      'heartbeat answer p95, max ms': [0.95, 1].map((share) => quantile(ackMs, share)).join(', '),
      'connections lost': lost,
      'coordinator CPU %': rounded(100 * cpu),
      'nodes CPU %': rounded(100 * own),
      'coordinator resident MiB': Math.round(memory.rss / 1_048_576),
      'coordinator heap KiB a node': rounded((memory.heapUsed + memory.external - empty) / this.#nodes / 1_024),
    };
  }

  empty(): Promise<number> {
    return this.#coordinator.memory().then(({ heapUsed, external }) => heapUsed + external);
  }

  async restart(): Promise<Figures> {
    const { listen, http } = this.#coordinator.served;
    await this.#coordinator.kill();
    await until(() => Promise.resolve(this.#running.every(({ joinedAt }) => joinedAt === null)), 'the loss', 30_000);
    this.#tally = newTally();
    const ports = { listen: listen.port, http: http.port };
    this.#coordinator = await startCoordinator(this.#nodes, this.#dir, ports);
    const served = systemClock.monotonic();
    const isBack = (): boolean => this.#running.every(({ joinedAt }) => joinedAt !== null);
    await until(() => Promise.resolve(isBack()), 'all nodes being back', 300_000);
    const backMs = this.#running.map(({ joinedAt }) => Math.max(0, (joinedAt ?? served) - served));
    const cpu = this.#coordinator.cpuSeconds();
    const { scored, lost } = this.#tally;
    await until(() => Promise.resolve(this.#tally.scored > scored), 'leases after the restart', 60_000);
    return {
      'back after a restart p50, p95, last ms': [0.5, 0.95, 1]
        .map((share) => Math.round(quantile(backMs, share)))
        .join(', '),
      'coordinator CPU s until all were back': rounded(cpu),
      'reconnects tried in vain, a node': rounded(lost / this.#nodes),
    };
  }

  /** For each node, {@link atOnce} at a time. */
  async #timed(what: string, each: (index: number) => Promise<void>): Promise<Figures> {
    const [from, cpu, own] = [systemClock.monotonic(), this.#coordinator.cpuSeconds(), process.cpuUsage()];
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < this.#nodes) await each(next++);
    };
    await Promise.all(Array.from({ length: Math.min(this.#nodes, atOnce) }, lane));
    const perNode = (seconds: number): number => rounded((seconds * 1_000) / this.#nodes);
    return {
      [`all ${what} in s`]: rounded((systemClock.monotonic() - from) / 1_000),
      [`${what}: coordinator CPU ms a node`]: perNode(this.#coordinator.cpuSeconds() - cpu),
      [`${what}: node's own CPU ms`]: perNode(cpuSecondsOf(process.cpuUsage(own))),
    };
  }
}

function nameOf(index: number): string {
  return `node-${index}`;
}

function cpuSecondsOf({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1_000_000;
}

function startCoordinator(
  nodes: number,
  dir: string,
  ports: { readonly listen: number; readonly http: number },
): Promise<CoordinatorProcess> {
  return CoordinatorProcess.start({ dir, stateDir: join(dir, `state-${nodes}`), isTls, ports });
}

async function measure(dir: string, deployment: string, input: string, nodes: number): Promise<Figures> {
  const cluster = await Cluster.start(nodes, dir);
  try {
    const empty = await cluster.empty();
    const enrolled = isTls ? await cluster.enrol() : {};
    await cluster.submit(deployment, input);
    const joined = await cluster.join();
    const worked = await cluster.work(empty);
    const back = await cluster.restart();
    const load = loadavg()[0] ?? Number.NaN;
    return { ...enrolled, ...joined, ...worked, ...back, 'load of the machine': rounded(load) };
  } finally {
    await cluster.close();
  }
}

function makeInput(dir: string): string {
  const files = Math.ceil((rate * (measuredMs / 1_000 + 120) * 1.5) / 1_000) * 1_000;
  const input = join(dir, 'in');
  for (let file = 0; file < files; file += 1) {
    const folder = join(input, `part-${Math.floor(file / 1_000)}`);
    if (file % 1_000 === 0) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file-${file}.txt`), '');
  }
  return input;
}

function makeDeployment(dir: string): string {
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'nothing.mjs'), 'export function run(files) {\n  return files;\n}\n');
  const file = join(dir, 'nothing.yml');
  const code = `code_configuration:\n  code: ${join(dir, 'code')}\n  scoring_script: nothing.mjs\n`;
  writeFileSync(file, `name: nothing\n${code}mini_batch_size: 1\n`);
  return file;
}

/** Markdown, a column for each count of nodes. */
function table(found: ReadonlyMap<number, Figures>): string {
  const columns = [...found.values()];
  const names = Object.keys(columns[0] ?? {});
  const head = [`nodes (${isTls ? 'mTLS' : 'in the clear'})`, ...[...found.keys()].map(String)];
  const lines = [
    head,
    head.map(() => '---'),
    ...names.map((name) => [name, ...columns.map((one) => String(one[name]))]),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
try {
  const [deployment, input] = [makeDeployment(dir), makeInput(dir)];
  const found = new Map<number, Figures>();
  for (const count of counts) {
    const figures = await measure(dir, deployment, input, count);
    found.set(count, figures);
    console.log(JSON.stringify({ bench: 'nodes', nodes: count, tls: isTls, ...figures }));
  }
  console.log(table(found));
} finally {
  await rm(dir, { recursive: true, force: true });
}
process.exit();
