/**
 * How far the output of each job is final, and what of it is committed for good: a fold of the events that have become durable. What the ledger counts may be ahead of the
 * journal, and a crash would take it back; what lies before a watermark is never written again.
 */
import type { JobName } from '../../common/core/ids.ts';
import { prologueLength } from '../../common/core/result.ts';
import { outputSegment } from '../core/batch-table.ts';
import type { Event } from '../core/events.ts';
import type { Job, Ledger } from '../core/ledger.ts';
import { isTakenStretch } from '../core/since.ts';

export class Watermarks {
  readonly #ledger: Ledger;
  readonly #marks = new Map<JobName, Mark>();

  /** What was replayed from the journal is durable, but for a header without rows: those are what makes it so. */
  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    for (const { name, generation, outputCommitted, schemas, schema, commits } of ledger.jobs.values()) {
      const isBare = outputCommitted <= prologueLength(schemas[schema]);
      this.#marks.set(name, { generation, bytes: isBare ? 0 : outputCommitted, commits });
    }
  }

  /** Of events in order, each once it is durable. */
  publish(event: Event): void {
    if (event.kind === 'Committed') {
      const mark = this.#of(event.job);
      this.#marks.set(event.job, { ...mark, commits: mark.commits + 1 });
    }
    if (event.kind === 'PageListed') {
      const taken = event.stretches?.filter(isTakenStretch).length ?? 0;
      const mark = this.#of(event.job);
      if (taken > 0) this.#marks.set(event.job, { ...mark, commits: mark.commits + taken });
    }
    if (event.kind === 'Committed' && event.place.segment === outputSegment) {
      this.#move(event.job, event.place.offset + event.place.length);
    } else if (event.kind === 'Appended') {
      const batches = this.#ledger.jobs.get(event.job)?.batches;
      const length = event.batches.reduce((sum, batch) => sum + (batches?.place(batch).length ?? 0), 0);
      this.#move(event.job, event.offset + length);
    } else if (event.kind === 'JobReopened') {
      const mark = this.#of(event.job);
      const bytes = mark.generation === event.generation ? mark.bytes : 0;
      this.#marks.set(event.job, { ...mark, generation: event.generation, bytes });
    } else if (event.kind === 'JobPruned') {
      this.#marks.delete(event.job);
    }
  }

  /** Bytes of the output file of the job's present generation that are final. */
  of(job: Job): number {
    const { generation, bytes } = this.#of(job.name);
    return generation === job.generation ? Math.min(bytes, job.outputCommitted) : 0;
  }

  /** Mini-batches that are committed, and stay so whatever crashes. */
  committedOf(job: Job): number {
    return Math.max(0, job.committed - (job.commits - this.#of(job.name).commits));
  }

  #of(job: JobName): Mark {
    return this.#marks.get(job) ?? { generation: 1, bytes: 0, commits: 0 };
  }

  #move(job: JobName, bytes: number): void {
    this.#marks.set(job, { ...this.#of(job), bytes });
  }
}

interface Mark {
  readonly generation: number;
  readonly bytes: number;
  /** Of the job's `commits`, those that are durable. */
  readonly commits: number;
}
