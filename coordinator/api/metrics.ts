/**
 * GET /metrics. Figures are read when somebody asks; only durations are observed as they pass. Labels are states, codes and
 * routes, never names of jobs or files: there is no end to those. Nodes are named at their GPUs alone, while they are connected.
 * @source Prometheus: metric names, text format 0.0.4
 */
import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { JournalWrite } from '../journal/journal.ts';
import type { GpuReading } from '../../common/core/cluster-messages.ts';
import type { GpusOfNodes } from '../views/node-view.ts';
import type { LedgerFigures } from '../views/ledger-figures.ts';
import type { Tallies } from '../views/tallies.ts';
import { about, answers, bytesAnswer, typed } from './typed-route.ts';

export interface MetricsOptions {
  readonly release: string;
  readonly figures: () => LedgerFigures;
  readonly tallies: Tallies;
}

/** Seconds: one sync of a fast disk takes 0.1 ms, one of a slow disk that is busy seconds. */
const syncBuckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
const requestBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** By label, or one number. */
type Read = (options: MetricsOptions, figures: LedgerFigures) => number | ReadonlyMap<string, number>;
interface Figure {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  readonly label?: string;
  readonly read: Read;
}

const counter = (name: string, help: string, read: (tallies: Tallies) => number): Figure => ({
  ...{ name: `batchmill_${name}_total`, help, kind: 'counter' },
  read: ({ tallies }) => read(tallies),
});
const gauge = (name: string, help: string, read: (figures: LedgerFigures) => number): Figure => ({
  ...{ name: `batchmill_${name}`, help, kind: 'gauge' },
  read: (_options, figures) => read(figures),
});

/** docs/metrics.md tells them; a test holds the two together. */
const figures: readonly Figure[] = [
  { name: 'batchmill_jobs', help: 'Jobs by state', kind: 'gauge', label: 'state', read: (_, { jobs }) => jobs },
  gauge('jobs_paused', 'Jobs of which nothing is handed out until they are resumed', (now) => now.jobsPaused),
  counter('jobs_submitted', 'Jobs submitted', (sum) => sum.jobsSubmitted),
  {
    ...{ name: 'batchmill_jobs_ended_total', help: 'Jobs that ended, by state', kind: 'counter', label: 'state' },
    read: ({ tallies }) => tallies.jobsEnded,
  },
  gauge('mini_batches_open', 'Mini-batches of live jobs that are not done', (now) => now.batchesOpen),
  gauge('mini_batches_leased', 'Mini-batches that worker nodes hold', (now) => now.batchesLeased),
  gauge('mini_batches_waiting', 'Mini-batches that failed and wait for their next try', (now) => now.batchesWaiting),
  gauge('mini_batches_queued', 'Mini-batches that could be leased at once', queued),
  counter('mini_batches_committed', 'Mini-batches committed', (sum) => sum.batchesCommitted),
  counter('mini_batches_quarantined', 'Mini-batches given up', (sum) => sum.batchesQuarantined),
  {
    ...{
      name: 'batchmill_attempts_failed_total',
      help: 'Attempts that failed, by code',
      kind: 'counter',
      label: 'code',
    },
    read: ({ tallies }) => tallies.attemptsFailed,
  },
  counter('leases_granted', 'Leases granted', (sum) => sum.leasesGranted),
  counter('run_seconds', 'Seconds inside run() of committed mini-batches', (sum) => sum.runSeconds),
  counter('rows', 'Rows committed', (sum) => sum.rows),
  counter('files_listed', 'Input files listed', (sum) => sum.filesListed),
  counter('files_scored', 'Input files scored', (sum) => sum.filesScored),
  counter('files_failed', 'Input files given up', (sum) => sum.filesFailed),
  counter('input_bytes', 'Bytes of the input files listed', (sum) => sum.inputBytesListed),
  counter('result_bytes', 'Bytes of the rows committed', (sum) => sum.resultBytes),
  {
    name: 'batchmill_nodes',
    help: 'Worker nodes by state',
    kind: 'gauge',
    label: 'state',
    read: (_, { nodes }) => nodes,
  },
  gauge('slots', 'Slots of worker nodes that may be given work', (now) => now.slots),
  gauge('leases', 'Leases that are live', (now) => now.leases),
  counter('nodes_joined', 'Times that a worker node joined', (sum) => sum.nodesJoined),
  counter('nodes_lost', 'Times that a worker node was lost', (sum) => sum.nodesLost),
  gauge('staged_bytes', 'Bytes of results that wait for their turn', (now) => now.stagedBytes),
  gauge('staging_limit_bytes', 'How many may', (now) => now.stagingBytesMax),
  {
    ...{
      name: 'batchmill_stall_seconds_total',
      help: 'Seconds that the coordinator itself stood still',
      kind: 'counter',
    },
    read: (_, { stallSeconds }) => stallSeconds,
  },
];

/** Of each GPU of a node whose scoring hosts have one; what is not known is left out. */
const gpuFigures: readonly {
  readonly name: string;
  readonly help: string;
  readonly read: (gpu: GpuReading) => number | null;
}[] = [
  {
    name: 'batchmill_gpu_memory_used_bytes',
    help: 'Memory of a GPU in use, by whomever',
    read: (gpu) => gpu.usedBytes,
  },
  { name: 'batchmill_gpu_memory_bytes', help: 'Memory of a GPU', read: (gpu) => gpu.totalBytes },
  {
    name: 'batchmill_gpu_busy_ratio',
    help: 'Share of time that a GPU was at work, 0 to 1',
    read: ({ busyPercent }) => (busyPercent === null ? null : busyPercent / 100),
  },
];

function queued({ batchesOpen, batchesLeased, batchesWaiting }: LedgerFigures): number {
  return Math.max(0, batchesOpen - batchesLeased - batchesWaiting);
}

/** Whose names end in `_total` although they are no counters. */
const misnamed = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** Of the process, once: what it starts to watch cannot be stopped. */
let processRegistry: Registry | null = null;
function processMetrics(): Registry {
  if (processRegistry) return processRegistry;
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of misnamed) registry.removeSingleMetric(name);
  processRegistry = registry;
  return registry;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Histogram<'method' | 'route' | 'status'>;
  readonly #inFlight: Gauge;
  readonly #syncs: Histogram;
  readonly #journalBytes: Counter;
  readonly #journalRecords: Counter;

  constructor(options: MetricsOptions) {
    const registers = [this.#registry];
    const live = figures.map((figure) => ({ figure, metric: this.#metric(figure) }));
    const info = new Gauge({ name: 'batchmill_info', help: 'Release', labelNames: ['release'], registers });
    info.set({ release: options.release }, 1);
    const certificates = new Gauge({
      ...{ name: 'batchmill_certificate_left_seconds', labelNames: ['of'], registers },
      help: 'Seconds until certificates end; of worker nodes that are connected, until the first does',
    });
    const gpus = gpuFigures.map(({ name, help, read }) => {
      return { read, metric: new Gauge({ name, help, labelNames: ['node', 'gpu'], registers }) };
    });
    this.#fill = () => {
      const now = options.figures();
      for (const { figure, metric } of live) fill(metric, figure, figure.read(options, now));
      fillBy(certificates, 'of', this.#certificatesLeft());
      for (const { metric, read } of gpus) fillGpus(metric, this.#gpus, read);
    };
    this.#requests = new Histogram({
      ...{ name: 'batchmill_http_request_seconds', help: 'Seconds of HTTP requests, event streams to their end' },
      ...{ labelNames: ['method', 'route', 'status'], buckets: requestBuckets, registers },
    });
    this.#inFlight = new Gauge({ name: 'batchmill_http_requests_in_flight', help: 'HTTP requests at work', registers });
    this.#syncs = new Histogram({
      ...{ name: 'batchmill_journal_write_seconds', help: 'Seconds of a write to the journal with its sync' },
      ...{ buckets: syncBuckets, registers },
    });
    this.#journalBytes = new Counter({ name: 'batchmill_journal_bytes_total', help: 'Bytes written', registers });
    this.#journalRecords = new Counter({ name: 'batchmill_journal_records_total', help: 'Records written', registers });
  }
  readonly #fill: () => void;
  /** None in the clear. */
  #certificatesLeft: () => ReadonlyMap<string, number> = () => new Map();

  #gpus: GpusOfNodes = new Map();

  #metric({ name, help, kind, label }: Figure): Counter | Gauge {
    const shape = { name, help, labelNames: label === undefined ? [] : [label], registers: [this.#registry] };
    return kind === 'counter' ? new Counter(shape) : new Gauge(shape);
  }

  /** Where there are certificates. `left`: seconds until they end, by whose. */
  showCertificates(left: () => ReadonlyMap<string, number>): void {
    this.#certificatesLeft = left;
  }

  /** Is looked at whenever somebody asks. */
  showGpus(gpus: GpusOfNodes): void {
    this.#gpus = gpus;
  }

  journalWrote({ seconds, bytes, records }: JournalWrite): void {
    this.#syncs.observe(seconds);
    this.#journalBytes.inc(bytes);
    this.#journalRecords.inc(records);
  }

  /** Adds GET /metrics, and observes every request. */
  serve(server: FastifyInstance): void {
    server.addHook('onRequest', async () => this.#inFlight.inc());
    server.addHook('onResponse', async (request, reply) => {
      const { method, routeOptions } = request;
      const route = routeOptions.url ?? 'none';
      this.#requests.observe({ method, route, status: String(reply.statusCode) }, reply.elapsedTime / 1_000);
      this.#inFlight.dec();
    });
    typed(server).get(
      '/metrics',
      {
        schema: {
          ...about('getMetrics', 'server', 'Figures for Prometheus'),
          response: answers({ 200: bytesAnswer('text format 0.0.4', 'text/plain') }),
        },
      },
      async (_request, reply) => reply.type(Registry.PROMETHEUS_CONTENT_TYPE).send(await this.text()),
    );
  }

  async text(): Promise<string> {
    this.#fill();
    const own = await this.#registry.metrics();
    return `${own.trimEnd()}\n${await processMetrics().metrics()}`;
  }
}

function fill(metric: Counter | Gauge, { label }: Figure, value: number | ReadonlyMap<string, number>): void {
  if (typeof value !== 'number') return fillBy(metric, label ?? '', value);
  metric.reset();
  metric.inc(value);
}

function fillGpus(metric: Gauge<'node' | 'gpu'>, nodes: GpusOfNodes, read: (gpu: GpuReading) => number | null): void {
  metric.reset();
  for (const [node, gpus] of nodes) {
    for (const gpu of gpus) {
      const value = read(gpu);
      if (value !== null) metric.set({ node, gpu: gpu.name }, value);
    }
  }
}

function fillBy(metric: Counter | Gauge, label: string, values: ReadonlyMap<string, number>): void {
  metric.reset();
  for (const [key, one] of values) metric.inc({ [label]: key }, one);
}
