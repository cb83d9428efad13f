/** The coordinator's core on a table: commands in, effects out, time and syncs by hand. One job named `job`. */
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { noCircumstances, type HeldLease, type NodeLabels } from '../../common/core/cluster-messages.ts';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { incarnation, jobName, nodeName, type NodeName } from '../../common/core/ids.ts';
import { plainOrigin, type JobOrigin } from '../../common/core/job-origin.ts';
import type { ResultSummary } from '../../common/core/result.ts';
import type { ShadowOutcome } from '../../common/core/shadow.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { noBatch } from '../../coordinator/core/batch-table.ts';
import type { Command } from '../../coordinator/core/commands.ts';
import type { Effect } from '../../coordinator/core/effects.ts';
import type { DurableEvent, Event } from '../../coordinator/core/events.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { newLedger, type Job, type Ledger } from '../../coordinator/core/ledger.ts';
import { Reactor } from '../../coordinator/core/reactor.ts';

export const job = jobName('job');
export type EffectOf<K extends Effect['kind']> = Extract<Effect, { kind: K }>;

export const settings: DeploymentSettings = {
  miniBatchSize: { kind: 'files', files: 2 },
  triesMax: 3,
  timeoutMs: 30_000,
  errorThreshold: -1,
  isolation: 'file',
  outputAction: 'append_row',
  outputFileName: 'predictions.csv',
  outputFormat: 'csv',
  loggingLevel: 'info',
  environmentVariables: {},
  instanceCountMax: null,
  concurrencyPerInstanceMax: null,
  recursive: true,
  customOutput: 'collected',
  memoryBytesMax: null,
  speculation: 'auto',
  progressTimeoutMs: null,
};

/** Of a result with one row per file unless `summary` says otherwise. */
export interface GivenResult {
  readonly length?: number;
  readonly customLength?: number;
  readonly columns?: readonly string[];
  readonly summary?: Partial<ResultSummary>;
  readonly shadow?: ShadowOutcome;
}

export class Harness {
  now = 1_000_000;
  readonly journal: DurableEvent[];
  readonly published: Event[] = [];
  #reactor: Reactor;
  #effects: Effect[] = [];
  /** Syncs after every command unless told otherwise. */
  isSyncing = true;

  /** `early`: comes before the epoch has begun. */
  constructor(
    journal: readonly DurableEvent[] = [],
    epoch = 1,
    stagingBytesMax: number = limits.stagingBytesMax,
    early: readonly Command[] = [],
  ) {
    this.journal = [...journal];
    const ledger = newLedger({ heartbeatMs: 5_000, stagingBytesMax });
    for (const event of this.journal) evolve(ledger, event);
    this.#reactor = new Reactor(ledger, {
      append: (event) => this.journal.push(event),
      carryOut: (effect) => void this.#effects.push(effect),
      publish: (event) => void this.published.push(event),
    });
    for (const command of [...early, { kind: 'begin', epoch } as const]) this.give(command);
  }

  get ledger(): Ledger {
    return this.#reactor.ledger;
  }

  get job(): Job {
    return this.ledger.jobs.get(job) as Job;
  }

  give(command: Command): void {
    this.#reactor.handle(command, this.now, 0);
    if (this.isSyncing) this.sync();
  }

  sync(): void {
    this.#reactor.synced(this.journal.length);
  }

  /** Everything that has gone out since the last call. */
  take(): readonly Effect[] {
    return this.#effects.splice(0);
  }

  /** The same, of one kind; the others are dropped. */
  takeOf<K extends Effect['kind']>(kind: K): readonly EffectOf<K>[] {
    return this.take().filter((effect): effect is EffectOf<K> => effect.kind === kind);
  }

  submit(given: Partial<DeploymentSettings> = {}): this {
    return this.submitAs(job, given, plainOrigin);
  }

  /** Beside another deployment that is the same in all but its name. */
  submitWithShadow(given: Partial<DeploymentSettings> = {}): this {
    return this.submitAs(job, given, plainOrigin, { revision: 3, tolerance: 0 });
  }

  /** A job of any name, with an output of its own. */
  submitAs(
    name: string,
    given: Partial<DeploymentSettings>,
    origin: JobOrigin,
    beside: { readonly revision: number; readonly tolerance: number } | null = null,
  ): this {
    const outputDir = name === job ? '/out' : `/out-${name}`;
    const deployment = {
      name: 'd',
      scorer: { kind: 'onnx', settings: defaultOnnxSettings },
      model: null,
      code: null,
      environment: { kind: 'host', python: null },
      settings: { ...settings, ...given },
    } as const;
    const shadow = beside && { ...beside, deployment: { ...deployment, name: 's' } };
    const more = { origin, ...(shadow && { shadow }), wallMs: 0 };
    this.give({ kind: 'submit', job: jobName(name), deployment, inputPath: '/in', outputDir, ...more });
    return this;
  }

  /** A page of files of these sizes. */
  list(...sizesBytes: readonly number[]): this {
    this.give({ kind: 'page-listed', job, chunk: this.job.chunks, sizesBytes, wallMs: 0 });
    return this;
  }

  endList(skipped = 0): this {
    this.give({ kind: 'listing-ended', job, skipped, wallMs: 0 });
    return this;
  }

  /** Joins, says hello and wants `leases`. */
  node(
    name: string,
    leases = 0,
    options: { readonly slots?: number; readonly held?: readonly HeldLease[] } = {},
  ): NodeName {
    const node = nodeName(name);
    this.join(name, `${name}/1`, options.slots);
    this.give({ kind: 'hello', node, held: options.held ?? [] });
    if (leases > 0) this.give({ kind: 'want', node, leases });
    return node;
  }

  join(name: string, process: string, slots = 2, labels: NodeLabels = {}): void {
    const node = nodeName(name);
    this.give({
      kind: 'join',
      node,
      ...{ incarnation: incarnation(process), slots, labels, hostname: 'h', pid: 1, wallMs: 0 },
    });
  }

  /** Tokens in the order of their grants; drops all other effects. */
  grants(): readonly Token[] {
    return this.takeOf('grant').map(({ token }) => token);
  }

  result(node: NodeName, token: Token, given: GivenResult = {}): void {
    const files = this.#filesOf(token);
    const { length = 10 * files, customLength = 0, columns = ['a:int'] } = given;
    const summary: ResultSummary = {
      rows: files,
      attribution: 'file',
      fileRows: Array.from({ length: files }, () => 1),
      failed: [],
      schema: { columns, prologue: 'a\n' },
      runSeconds: 0.1,
      peakMemoryBytes: null,
      ...given.summary,
    };
    const beside = given.shadow ? { shadow: given.shadow } : {};
    this.give({ kind: 'result', node, token, summary, length, crc32: 7, customLength, customCrc32: 9, ...beside });
  }

  written(token: Token): void {
    this.give({ kind: 'written', job, token });
  }

  /** A result whose bytes are on the disk at once. */
  commit(node: NodeName, token: Token, given: GivenResult = {}): void {
    this.result(node, token, given);
    this.written(token);
  }

  copied(): void {
    this.give({ kind: 'copied', job });
  }

  fail(node: NodeName, token: Token, code: ErrorCode, fileIndex = -1): void {
    const failure = { code, message: code, detail: '' };
    this.give({ kind: 'attempt-failed', node, token, failure, fileIndex, circumstances: noCircumstances });
  }

  heartbeat(node: NodeName, held: readonly Token[]): void {
    this.give({ kind: 'heartbeat', node, held });
  }

  /** Time passes in ticks, without a stall. */
  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end;) {
      this.now = Math.min(end, this.now + limits.tickMs);
      this.give({ kind: 'tick', stallMs: 0, wallMs: 0 });
    }
  }

  /** `first+files:state` of every mini-batch that counts, in the input order. */
  get order(): string {
    const { batches } = this.job;
    const found: string[] = [];
    for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
      const state = batches.state(batch);
      if (state !== 'split') found.push(`${batches.first(batch)}+${batches.files(batch)}:${state}`);
    }
    return found.join(' ');
  }

  /** The process ends here; another one starts on what its journal kept (everything, unless told otherwise). */
  restart(records: number = this.journal.length, early: readonly Command[] = []): Harness {
    const kept = this.journal.slice(0, records);
    const next = new Harness(kept, this.ledger.epoch + 1, this.ledger.stagingBytesMax, early);
    next.now = this.now;
    return next;
  }

  #filesOf(token: Token): number {
    const lease = token.epoch === this.ledger.epoch ? this.ledger.leases.get(token.counter) : undefined;
    return lease ? this.job.batches.files(lease.batch) : 2;
  }
}

/** `n` files of one byte. */
export function files(n: number): readonly number[] {
  return Array.from({ length: n }, () => 1);
}
