/**
 * What has happened since the process started, counted: a fold of the events that have become durable. Nothing here ever
 * goes down, whatever is retried, reopened or pruned; a restart begins at nought, as counters of Prometheus may.
 */
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { JobState } from '../../common/core/states.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Event, EventOf } from '../core/events.ts';
import type { Ledger } from '../core/ledger.ts';

export class Tallies {
  readonly #ledger: Ledger;
  jobsSubmitted = 0;
  readonly jobsEnded: Map<JobState, number> = new Map<JobState, number>();
  leasesGranted = 0;
  batchesCommitted = 0;
  /** Attempts that failed, by the code of what went wrong. */
  readonly attemptsFailed: Map<ErrorCode, number> = new Map<ErrorCode, number>();
  batchesQuarantined = 0;
  rows = 0;
  filesScored = 0;
  filesFailed = 0;
  filesListed = 0;
  inputBytesListed = 0;
  resultBytes = 0;
  /** Inside run(), of committed mini-batches. */
  runSeconds = 0;
  nodesJoined = 0;
  nodesLost = 0;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Of jobs that make the parts of another one's output, only what costs is counted: leases, failures, seconds. */
  publish(event: Event): void {
    switch (event.kind) {
      case 'LeaseGranted':
        this.leasesGranted += 1;
        return;
      case 'Committed':
        return this.#committed(event);
      case 'AttemptFailed':
        this.attemptsFailed.set(event.failure.code, (this.attemptsFailed.get(event.failure.code) ?? 0) + 1);
        return;
      case 'Quarantined':
        this.batchesQuarantined += 1;
        this.filesFailed += this.#ledger.jobs.get(event.job)?.batches.files(event.batch) ?? 0;
        return;
      case 'PageListed':
        if (this.#isInner(event.job)) return;
        this.filesListed += event.files;
        this.inputBytesListed += event.bytes;
        return;
      case 'JobSubmitted':
        if (!event.rowsOf) this.jobsSubmitted += 1;
        return;
      case 'JobStateChanged':
        if (!isFinal(event.state) || this.#isInner(event.job)) return;
        this.jobsEnded.set(event.state, (this.jobsEnded.get(event.state) ?? 0) + 1);
        return;
      case 'NodeJoined':
        this.nodesJoined += 1;
        return;
      case 'NodeLost':
        this.nodesLost += 1;
        return;
      default:
    }
  }

  #committed({ job: name, batch, rows, failed, missing, place, runSeconds }: EventOf<'Committed'>): void {
    this.batchesCommitted += 1;
    this.runSeconds += runSeconds ?? 0;
    this.resultBytes += place.length;
    const job = this.#ledger.jobs.get(name);
    if (!job || job.rowsOf !== null) return;
    const notScored = failed.length + missing;
    this.rows += rows;
    this.filesScored += job.batches.files(batch) - notScored;
    this.filesFailed += notScored;
  }

  #isInner(name: EventOf<'JobStateChanged'>['job']): boolean {
    return (this.#ledger.jobs.get(name)?.rowsOf ?? null) !== null;
  }
}
