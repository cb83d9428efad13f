/**
 * The coordinator's core with many worker nodes: what a join, a heartbeat, a tick and a mini-batch cost, what a node takes of the heap, and
 * how long a lease is waited for. Nodes are played in virtual time; each command occupies the coordinator for as long as it took here, so
 * that others wait for it. Nothing is encoded, sent or written. One JSON line per case.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { defaultOnnxSettings } from '../common/core/onnx-settings.ts';
import type { Deployment } from '../common/core/deployment.ts';
import { incarnation, jobName, nodeName, type NodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Token } from '../common/core/token.ts';
import type { Command } from '../coordinator/core/commands.ts';
import type { Effect } from '../coordinator/core/effects.ts';
import { heartbeatIntervalMs, newLedger } from '../coordinator/core/ledger.ts';
import { Reactor } from '../coordinator/core/reactor.ts';
import { World } from '../test/sim/world.ts';

const slots = 2;
/** Of a mini-batch. */
const scoreMs = 10_000;
/** Virtual, of work; as long as it takes for so many mini-batches. */
const workMsMin = 60_000;
const batchesMin = 10_000;
const rounds = 5;
const pageFiles = 10_000;
const job = jobName('fleet');
const schema = { columns: ['a:int'], prologue: 'a\n' };

const deployment: Deployment = {
  name: 'fleet',
  scorer: { kind: 'onnx', settings: defaultOnnxSettings },
  model: null,
  code: null,
  environment: { kind: 'host', python: null },
  settings: {
    miniBatchSize: { kind: 'files', files: 1 },
    ...{ triesMax: 3, timeoutMs: 30_000, errorThreshold: -1, isolation: 'file', outputAction: 'append_row' },
    ...{ outputFileName: 'predictions.csv', outputFormat: 'csv', loggingLevel: 'info', environmentVariables: {} },
    ...{ instanceCountMax: null, concurrencyPerInstanceMax: null, recursive: true, customOutput: 'collected' },
    ...{ memoryBytesMax: null, speculation: 'auto', progressTimeoutMs: null },
  },
};

class Fleet {
  readonly world = new World(1);
  readonly latenciesMs: number[] = [];
  committed = 0;
  readonly #reactor: Reactor;
  readonly #effects: Effect[] = [];
  readonly #held = new Map<NodeName, Set<Token>>();
  readonly #wantedAt = new Map<NodeName, number[]>();
  #appended = 0;
  /** Virtual time from which on the coordinator is free. */
  #freeAt = 0;

  constructor() {
    this.#reactor = new Reactor(newLedger({ heartbeatMs: null }), {
      append: () => (this.#appended += 1),
      carryOut: (effect) => void this.#effects.push(effect),
      publish: () => undefined,
    });
    this.give({ kind: 'begin', epoch: 1 });
  }

  get heartbeatMs(): number {
    return heartbeatIntervalMs(this.#reactor.ledger);
  }

  /** One command, and all that it brings about at once. */
  give(command: Command): void {
    const before = cpuMs();
    this.#reactor.handle(command, this.world.now + 1_000_000, 0);
    this.#reactor.synced(this.#appended);
    this.#freeAt = Math.max(this.#freeAt, this.world.now) + cpuMs() - before;
    for (const effect of this.#effects.splice(0)) {
      if (effect.kind === 'grant') this.#granted(effect.node, effect.token);
      else if (effect.kind === 'copy') this.give({ kind: 'copied', job });
    }
  }

  join(name: NodeName): void {
    this.#held.set(name, new Set());
    this.#wantedAt.set(name, []);
    const process = { incarnation: incarnation(name), slots, labels: {}, hostname: name, pid: 1, wallMs: 0 };
    this.give({ kind: 'join', node: name, ...process });
    this.give({ kind: 'hello', node: name, held: [] });
  }

  heartbeat(node: NodeName): void {
    this.give({ kind: 'heartbeat', node, held: [...(this.#held.get(node) ?? [])] });
  }

  tick(): void {
    this.give({ kind: 'tick', stallMs: 0, wallMs: 0 });
  }

  want(node: NodeName, leases: number): void {
    for (let lease = 0; lease < leases; lease += 1) this.#wantedAt.get(node)?.push(this.world.now);
    this.give({ kind: 'want', node, leases });
  }

  list(files: number): void {
    this.give({ kind: 'submit', job, deployment, inputPath: '/in', outputDir: '/out', wallMs: 0 });
    for (let left = files, chunk = 0; left > 0; left -= pageFiles, chunk += 1) {
      const sizesBytes = new Float64Array(Math.min(left, pageFiles)).fill(1);
      this.give({ kind: 'page-listed', job, chunk, sizesBytes, wallMs: 0 });
    }
    this.give({ kind: 'listing-ended', job, skipped: 0, wallMs: 0 });
  }

  every(ms: number, firstMs: number, what: () => void): void {
    this.world.after(firstMs, () => {
      what();
      this.every(ms, ms, what);
    });
  }

  #granted(node: NodeName, token: Token): void {
    const wantedAt = this.#wantedAt.get(node)?.shift();
    if (wantedAt !== undefined) this.latenciesMs.push(this.#freeAt - wantedAt);
    this.#held.get(node)?.add(token);
    // No two take the same time.
    this.world.after(this.#freeAt - this.world.now + scoreMs * (0.75 + this.world.random.next() / 2), () => {
      this.#held.get(node)?.delete(token);
      const summary = { rows: 1, attribution: 'file' as const, fileRows: [1], failed: [], schema };
      const took = { runSeconds: scoreMs / 1_000, peakMemoryBytes: null };
      const sums = { length: 10, crc32: 7, customLength: 0, customCrc32: 9 };
      this.give({ kind: 'result', node, token, summary: { ...summary, ...took }, ...sums });
      this.give({ kind: 'written', job, token });
      this.committed += 1;
      this.want(node, 1);
    });
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** Microseconds of processor time for each of `times`. */
function cost(times: number, what: () => void): number {
  const before = cpuMs();
  what();
  return Math.round(((cpuMs() - before) / times) * 10_000) / 10;
}

function quantile(sorted: readonly number[], share: number): number {
  return Math.round((sorted[Math.floor(share * (sorted.length - 1))] ?? 0) * 1_000) / 1_000;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

async function measure(nodes: number): Promise<Record<string, number>> {
  const fleet = new Fleet();
  const names = Array.from({ length: nodes }, (_, index) => nodeName(`node-${index}`));
  collect();
  const heapBefore = process.memoryUsage().heapUsed;
  const joinUs = cost(nodes, () => {
    for (const name of names) fleet.join(name);
  });
  collect();
  const heapBytesPerNode = Math.round((process.memoryUsage().heapUsed - heapBefore) / nodes);
  const heartbeatUs = cost(rounds * nodes, () => {
    for (let round = 0; round < rounds; round += 1) for (const name of names) fleet.heartbeat(name);
  });
  const idleTickUs = cost(100, () => {
    for (let tick = 0; tick < 100; tick += 1) fleet.tick();
  });
  const workMs = Math.max(workMsMin, (batchesMin * scoreMs) / (nodes * slots));
  fleet.list(Math.ceil((nodes * slots * workMs * 1.5) / scoreMs));
  const { heartbeatMs } = fleet;
  for (const name of names) {
    fleet.world.after(fleet.world.random.next() * scoreMs, () => fleet.want(name, slots));
    fleet.every(heartbeatMs, fleet.world.random.next() * heartbeatMs, () => fleet.heartbeat(name));
  }
  let ticksUs = 0;
  fleet.every(limits.tickMs, limits.tickMs, () => (ticksUs += cost(1, () => fleet.tick())));
  const before = cpuMs();
  await fleet.world.play(workMs, () => false);
  const batchUs = ((cpuMs() - before) * 1_000 - ticksUs) / fleet.committed;
  const sorted = fleet.latenciesMs.sort((a, b) => a - b);
  return {
    ...{ nodes, heartbeatMs, joinUs, heartbeatUs, idleTickUs, heapBytesPerNode, committed: fleet.committed },
    tickUs: Math.round(ticksUs / (workMs / limits.tickMs)),
    batchUs: Math.round(batchUs * 10) / 10,
    ...{ leaseMsP50: quantile(sorted, 0.5), leaseMsP95: quantile(sorted, 0.95) },
  };
}

const counts = process.argv.slice(2).map(Number);
// The first one is for the compiler.
await measure(1_000);
for (const nodes of counts.length > 0 ? counts : [10, 100, 1_000, 10_000])
  console.log(JSON.stringify({ bench: 'fleet', ...(await measure(nodes)) }));
