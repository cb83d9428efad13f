/**
 * How many jobs of an endpoint run at once: those beyond its limit are listed, and stay Preparing until one that runs has ended.
 * They begin by priority, then in order of submission. A job that was begun keeps its place while it is paused.
 */
import { isFinal, type JobState } from '../../common/core/states.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { Event } from './events.ts';
import type { Job, Ledger } from './ledger.ts';

interface Load {
  readonly begun: Set<JobName>;
  /** Have something to score and were not begun. */
  readonly waiting: Map<JobName, Job>;
}

/** Jobs of endpoints that have not ended, by the endpoint's name. Follows from the jobs; written by `evolve` alone. */
export class EndpointLoads {
  readonly #loads = new Map<string, Load>();

  /** Looks at a job that has changed. */
  note(job: Job): void {
    const key = endpointOf(job);
    if (key === null) return;
    const load = this.#loads.get(key) ?? { begun: new Set(), waiting: new Map() };
    load.begun.delete(job.name);
    load.waiting.delete(job.name);
    if (isBegun(job)) load.begun.add(job.name);
    else if (!isFinal(job.state) && job.total > 0) load.waiting.set(job.name, job);
    if (load.begun.size + load.waiting.size > 0) this.#loads.set(key, load);
    else this.#loads.delete(key);
  }

  begun(endpoint: string): number {
    return this.#loads.get(endpoint.toLowerCase())?.begun.size ?? 0;
  }

  /** Endpoints of which a job waits, with those that do. */
  *waiting(): Generator<readonly [string, ReadonlyMap<JobName, Job>], void, void> {
    for (const [endpoint, { waiting }] of this.#loads) if (waiting.size > 0) yield [endpoint, waiting];
  }
}

/** Null for jobs without a limit: of no endpoint, or a part of another one. */
function endpointOf({ origin, rowsOf }: Job): string | null {
  return rowsOf === null && origin.endpoint !== null ? origin.endpoint.toLowerCase() : null;
}

const running: ReadonlySet<JobState> = new Set<JobState>(['Running', 'Finalizing']);

function isBegun({ state, startedWallMs }: Job): boolean {
  return running.has(state) || (state === 'CancelRequested' && startedWallMs !== null);
}

/** How many jobs of its endpoint may run; null: any number. */
export function runningMax(ledger: Ledger, job: Job): number | null {
  const endpoint = endpointOf(job);
  return endpoint === null ? null : (ledger.registry.endpoint(endpoint)?.concurrencyMax ?? null);
}

/** Whether one more job of its endpoint may begin. */
export function hasRoom(ledger: Ledger, job: Job): boolean {
  const max = runningMax(ledger, job);
  return max === null || ledger.loads.begun(endpointOf(job) ?? '') < max;
}

/** The next job that waited for its endpoint and may begin; empty when there is none. */
export function nextToBegin(ledger: Ledger, wallMs: number): readonly Event[] {
  for (const [, waiting] of ledger.loads.waiting()) {
    let next: Job | undefined;
    for (const job of waiting.values()) {
      if (job.state !== 'Preparing' || job.isPaused) continue;
      if (next === undefined && !hasRoom(ledger, job)) break;
      if (next === undefined || isBefore(job, next)) next = job;
    }
    if (next) return [{ kind: 'JobStateChanged', job: next.name, state: 'Running', error: null, wallMs }];
  }
  return [];
}

function isBefore(a: Job, b: Job): boolean {
  return a.origin.priority > b.origin.priority || (a.origin.priority === b.origin.priority && a.order < b.order);
}
