/** A backend with one job, whose events, errors and files a test decides. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { JobState } from '../../common/core/states.ts';
import type {
  Backend,
  JobErrorsView,
  JobPageView,
  JobQuery,
  JobEvent,
  JobRequest,
  JobView,
  LabelRequest,
  NodeView,
  PrintedView,
  PrunedView,
  PruneRequest,
  ReopenRequest,
} from '../../coordinator/api/backend.ts';
import { listLogs } from '../../coordinator/logs/log-store.ts';

export class FakeBackend implements Backend {
  readonly submitted: JobRequest[] = [];
  readonly queries: JobQuery[] = [];
  /** Of the page of jobs. */
  next: number | null = null;
  readonly canceled: string[] = [];
  readonly graces: number[] = [];
  readonly reopened: { readonly verb: string; readonly name: string; readonly request: ReopenRequest }[] = [];
  readonly pruned: PruneRequest[] = [];
  readonly watched: string[] = [];
  readonly opened: string[] = [];
  submitError: unknown = null;
  outputError: BatchError | null = null;
  /** Name of the job that a submission without a name becomes. */
  submitsAs = 'job-2';
  /** Live iterations of {@link events}. */
  subscriptions = 0;
  readonly #outputDir: string;
  readonly #events: JobEvent[] = [];
  #view: JobView;
  #hasEnded = false;
  #failure: unknown = null;
  #deliveredTo = 0;
  #wake: (() => void)[] = [];

  constructor(outputDir: string) {
    this.#outputDir = outputDir;
    this.#view = jobView('job-1', 'Running');
  }

  async submit(request: JobRequest): Promise<JobView> {
    if (this.submitError !== null) throw this.submitError as Error;
    this.submitted.push(request);
    return Promise.resolve(jobView(request.name ?? this.submitsAs, 'Queued'));
  }

  list(): readonly JobView[] {
    return [this.#view];
  }

  page(query: JobQuery): JobPageView {
    this.queries.push(query);
    return { value: this.list(), next: this.next };
  }

  show(name: string): JobView {
    if (name === 'last' || name === this.#view.name) return this.#view;
    throw new BatchError('JOB_NOT_FOUND', `no job is called ${name}`);
  }

  async cancel(name: string, graceMs: number): Promise<JobView> {
    this.canceled.push(this.show(name).name);
    this.graces.push(graceMs);
    this.#view = { ...this.#view, status: 'CancelRequested' };
    return Promise.resolve(this.#view);
  }

  pause(name: string): Promise<JobView> {
    this.#view = { ...this.show(name), paused: true };
    return Promise.resolve(this.#view);
  }

  resume(name: string, request: ReopenRequest): Promise<JobView> {
    this.reopened.push({ verb: 'resume', name, request });
    this.#view = { ...this.show(name), paused: false };
    return Promise.resolve(this.#view);
  }

  retry(name: string, request: ReopenRequest): Promise<JobView> {
    this.reopened.push({ verb: 'retry', name, request });
    return Promise.resolve(this.show(name));
  }

  prune(request: PruneRequest): Promise<readonly PrunedView[]> {
    this.pruned.push(request);
    const { name, status, ended_at, output_path } = this.#view;
    return Promise.resolve([{ name, status, ended_at, output_path, output_removed: request.withOutput }]);
  }

  nodes(): readonly NodeView[] {
    return [
      {
        name: 'node-1',
        state: 'ready',
        hostname: 'host',
        pid: 7,
        slots: 2,
        leases: 1,
        heartbeat_gap_ms_max: 5_012,
        joined_at: '2026-11-21T09:30:12.000Z',
        ...{ cordoned: false, quarantine: null, labels: {}, leaves_at: null, gpus: [] },
        quarantines: [{ job: 'digits', reason: '5 different mini-batches failed on it' }],
      },
    ];
  }

  node(name: string): NodeView {
    const [found] = this.nodes();
    if (found?.name !== name) throw new BatchError('RESOURCE_NOT_FOUND', `no worker node ${name}`);
    return found;
  }

  async orderNode(name: string): Promise<readonly NodeView[]> {
    if (name !== 'node-1') throw new BatchError('REQUEST_INVALID', `worker node ${name} is not quarantined`);
    return this.nodes();
  }

  wallMs(): number {
    return 0;
  }

  async *events(name: string, afterSequence: number, signal: AbortSignal): AsyncGenerator<JobEvent, void, undefined> {
    this.watched.push(name);
    this.subscriptions += 1;
    this.#wakeAll();
    const onAbort = (): void => this.#wakeAll();
    signal.addEventListener('abort', onAbort);
    try {
      let next = afterSequence;
      while (!signal.aborted) {
        const event = this.#events[next];
        if (event) {
          next += 1;
          yield event;
          this.#deliveredTo = Math.max(this.#deliveredTo, event.sequence);
          this.#wakeAll();
        } else if (this.#failure !== null) throw this.#failure as Error;
        else if (this.#hasEnded) return;
        else await this.#change();
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.subscriptions -= 1;
      this.#wakeAll();
    }
  }

  outputDir(name: string): Promise<string> {
    this.show(name);
    return Promise.resolve(this.#outputDir);
  }

  async outputFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    this.show(name);
    if (this.outputError) throw this.outputError;
    return [{ path: 'predictions.csv', sizeBytes: (await stat(join(this.#outputDir, 'predictions.csv'))).size }];
  }

  async outputFile(name: string, path: string): Promise<string> {
    this.show(name);
    this.opened.push(path);
    return join(this.#outputDir, path);
  }

  /** How much of the file of rows is final; null: all of it. */
  rowsFinal: number | null = null;

  finalBytes(_name: string, path: string): number | null {
    return path.endsWith('.partial') ? this.rowsFinal : null;
  }

  async logFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    this.show(name);
    return await listLogs(this.#outputDir);
  }

  async logFile(name: string, path: string): Promise<string> {
    this.show(name);
    return await Promise.resolve(join(this.#outputDir, '_logs', path));
  }

  printed(name: string): Promise<readonly PrintedView[]> {
    this.show(name);
    return Promise.resolve([]);
  }

  errors(name: string): Promise<JobErrorsView> {
    const { status } = this.show(name);
    const found = { name, status, error: null, failed_files: 0, groups: 0, value: [], logs_path: '/out/_logs' };
    return Promise.resolve(found);
  }

  /** Adds `count` progress events. */
  emit(count: number): void {
    for (let i = 0; i < count; i += 1) this.push('progress');
  }

  /** Adds an event of `kind`. */
  push(kind: JobEvent['kind']): void {
    const sequence = this.#events.length + 1;
    const message = `event ${sequence}`;
    this.#events.push({ sequence, time: '2026-11-21T09:30:13.000Z', kind, message, job: this.#view });
    this.#wakeAll();
  }

  /** Resolves once the event of that sequence has been asked beyond: it is on its way to a client. */
  async delivered(sequence: number): Promise<void> {
    while (this.#deliveredTo < sequence) await this.#change();
  }

  async label(name: string, { isArchived, displayName, ...labels }: LabelRequest): Promise<JobView> {
    const { archived, display_name: displayed } = this.show(name);
    this.change({ ...labels, archived: isArchived ?? archived, display_name: displayName ?? displayed });
    return Promise.resolve(this.show(name));
  }

  /** Ends the job with a last event of its own when `status` is given. */
  finish(status?: JobState): void {
    if (status) {
      this.#view = { ...this.#view, status, ended_at: '2026-11-21T09:31:00.000Z' };
      this.push('state');
    }
    this.#hasEnded = true;
    this.#wakeAll();
  }

  fail(error: unknown): void {
    this.#failure = error;
    this.#wakeAll();
  }

  /** Changes what the job looks like from now on. */
  change(change: Partial<JobView>): void {
    this.#view = { ...this.#view, ...change };
  }

  /** Resolves once {@link subscriptions} is `count`. */
  async subscriptionsReach(count: number): Promise<void> {
    while (this.subscriptions !== count) await this.#change();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #wakeAll(): void {
    const waiting = this.#wake;
    this.#wake = [];
    waiting.forEach((wake) => wake());
  }
}

export function jobView(name: string, status: JobState): JobView {
  return {
    name,
    status,
    paused: false,
    generation: 1,
    waiting: null,
    deployment: 'digits',
    input_path: '/in',
    output_path: '/out',
    output_file: '/out/predictions.csv',
    created_at: '2026-11-21T09:30:12.000Z',
    started_at: null,
    ended_at: null,
    files: {
      total: 500,
      is_listed: true,
      scored: 250,
      taken: 0,
      failed: 0,
      missing: 0,
      skipped: 0,
      skipped_by: null,
      split: null,
    },
    since: null,
    shadow: null,
    mini_batches: { total: 50, committed: 25, leased: 2, failed_tries: 0 },
    parts: null,
    rows: 250,
    output_bytes: 5_000,
    nodes: 1,
    quarantined_nodes: [],
    error: null,
    last_failure: null,
    id: `/v1/jobs/${name}`,
    type: 'pipeline',
    display_name: name,
    experiment_name: 'digits',
    endpoint: null,
    revision: null,
    owner: 'local',
    priority: 0,
    compute: null,
    require: {},
    description: null,
    tags: {},
    properties: {},
    archived: false,
    creation_context: { created_at: '2026-11-21T09:30:12.000Z', created_by: 'local' },
    services: { Studio: { endpoint: `/v1/jobs/${name}` }, Tracking: { endpoint: `/v1/jobs/${name}/events` } },
    inputs: { input: { type: 'uri_folder', path: '/in' } },
    outputs: { score: { type: 'uri_folder', path: '/out' } },
  };
}
