/**
 * Mini-batches a second through the core alone, from grant to commit, while many jobs are queued: `jobs` of them, of `owners` people,
 * with `priorities` different ones. Time and disk are by hand. One JSON line per case.
 */
import { defaultOnnxSettings } from '../common/core/onnx-settings.ts';
import type { Deployment } from '../common/core/deployment.ts';
import { plainOrigin } from '../common/core/job-origin.ts';
import { incarnation, jobName, nodeName, type JobName, type NodeName } from '../common/core/ids.ts';
import { systemClock } from '../common/io/clock.ts';
import type { Command } from '../coordinator/core/commands.ts';
import type { Effect } from '../coordinator/core/effects.ts';
import { newLedger } from '../coordinator/core/ledger.ts';
import { Reactor } from '../coordinator/core/reactor.ts';

const nodes = 16;
const slots = 16;
const batchesPerJob = 20;
const commits = 100_000;

const deployment: Deployment = {
  name: 'queue',
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

interface Case {
  readonly jobs: number;
  readonly owners: number;
  readonly priorities: number;
}

function measure({ jobs, owners, priorities }: Case): number {
  const ledger = newLedger({ heartbeatMs: 5_000 });
  let effects: Effect[] = [];
  let appended = 0;
  const reactor = new Reactor(ledger, {
    append: () => (appended += 1),
    carryOut: (effect) => void effects.push(effect),
    publish: () => undefined,
  });
  const now = 1_000_000;
  const give = (command: Command): void => {
    reactor.handle(command, now, 0);
    reactor.synced(appended);
  };
  give({ kind: 'begin', epoch: 1 });
  const sizesBytes = Array.from({ length: batchesPerJob }, () => 1);
  for (let index = 0; index < jobs; index += 1) {
    const job = jobName(`job-${index}`);
    const origin = { ...plainOrigin, owner: `owner-${index % owners}`, priority: (index * 7) % priorities };
    const place = { inputPath: '/in', outputDir: `/out/${index}`, wallMs: 0 };
    give({ kind: 'submit', job, deployment, ...place, origin });
    give({ kind: 'page-listed', job, chunk: 0, sizesBytes, wallMs: 0 });
    give({ kind: 'listing-ended', job, skipped: 0, wallMs: 0 });
  }
  for (let index = 0; index < nodes; index += 1) {
    const node = nodeName(`node-${index}`);
    const process = { incarnation: incarnation(`${index}`), slots, labels: {}, hostname: 'h', pid: 1, wallMs: 0 };
    give({ kind: 'join', node, ...process });
    give({ kind: 'hello', node, held: [] });
    give({ kind: 'want', node, leases: slots });
  }
  let done = 0;
  const startedAt = systemClock.monotonic();
  while (done < commits) {
    const turn = effects;
    effects = [];
    let isIdle = true;
    for (const effect of turn) {
      if (effect.kind === 'copy') give({ kind: 'copied', job: effect.job });
      if (effect.kind === 'seal') give({ kind: 'sealed', job: effect.job, wallMs: 0 });
      if (effect.kind !== 'grant') continue;
      isIdle = false;
      commit(give, effect);
      give({ kind: 'want', node: effect.node, leases: 1 });
      done += 1;
    }
    if (isIdle) break;
  }
  return done / ((systemClock.monotonic() - startedAt) / 1_000);
}

interface Granted {
  readonly node: NodeName;
  readonly job: JobName;
  readonly token: { readonly epoch: number; readonly counter: number };
}

function commit(give: (command: Command) => void, { node, job, token }: Granted): void {
  const schema = { columns: ['a:int'], prologue: 'a\n' };
  const took = { schema, runSeconds: 0.1, peakMemoryBytes: null };
  const summary = { rows: 1, attribution: 'file' as const, fileRows: [1], failed: [], ...took };
  give({ kind: 'result', node, token, summary, length: 10, crc32: 7, customLength: 0, customCrc32: 9 });
  give({ kind: 'written', job, token });
}

const cases: readonly Case[] = [
  { jobs: 1_000, owners: 1, priorities: 1 },
  { jobs: 10_000, owners: 1, priorities: 1 },
  { jobs: 10_000, owners: 1, priorities: 20 },
  { jobs: 10_000, owners: 100, priorities: 1 },
  { jobs: 10_000, owners: 1_000, priorities: 20 },
];
for (const one of cases) {
  console.log(JSON.stringify({ bench: 'queue', ...one, perSecond: Math.round(measure(one)) }));
}
