/**
 * How far the output of each job is final: a fold of the events that have become durable. What the ledger counts may be ahead of the
 * journal, and a crash would take it back; what lies before a watermark is never written again.
 */
import type { JobName } from '../../common/core/ids.ts';
import { outputSegment } from '../core/batch-table.ts';
import type { Event } from '../core/events.ts';
import type { Job, Ledger } from '../core/ledger.ts';

export class Watermarks {
  readonly #ledger: Ledger;
  readonly #bytes = new Map<JobName, number>();

  /** What was replayed from the journal is durable. */
  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    for (const job of ledger.jobs.values()) this.#bytes.set(job.name, job.outputCommitted);
  }

  /** Of events in order, each once it is durable. */
  publish(event: Event): void {
    if (event.kind === 'Committed' && event.place.segment === outputSegment) {
      this.#bytes.set(event.job, event.place.offset + event.place.length);
    } else if (event.kind === 'Appended') {
      const batches = this.#ledger.jobs.get(event.job)?.batches;
      const length = event.batches.reduce((sum, batch) => sum + (batches?.place(batch).length ?? 0), 0);
      this.#bytes.set(event.job, event.offset + length);
    }
  }

  /** Bytes of the output file that are final. */
  of(job: Job): number {
    return Math.min(this.#bytes.get(job.name) ?? 0, job.outputCommitted);
  }
}
