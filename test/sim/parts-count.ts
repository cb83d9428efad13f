/** What a simulation meets of inner jobs, which make the parts of an output: their beginnings and ends, and what people do meanwhile. */
import type { JobName } from '../../common/core/ids.ts';
import type { Event } from '../../coordinator/core/events.ts';
import { partsJobName } from '../../coordinator/core/parts.ts';

export class PartsCount {
  readonly #inner = new Set<JobName>();
  #begun = 0;
  #made = 0;
  #brokenOff = 0;
  #paused = 0;

  /** Of events that have become durable. */
  publish(event: Event): void {
    if (event.kind === 'JobSubmitted' && event.rowsOf) {
      this.#inner.add(event.job);
      this.#begun += 1;
    }
    if (!('job' in event) || event.job === null) return;
    if (event.kind === 'JobPaused' && event.isPaused && this.#inner.has(partsJobName(event.job))) this.#paused += 1;
    if (!this.#inner.has(event.job)) return;
    if (event.kind === 'JobPruned') this.#inner.delete(event.job);
    else if (event.kind === 'Committed') this.#made += 1;
    else if (event.kind === 'JobStateChanged' && (event.state === 'Canceled' || event.state === 'Failed'))
      this.#brokenOff += 1;
  }

  get met(): readonly (readonly [string, number])[] {
    return [
      ['makings of parts begun', this.#begun],
      ['makings of parts broken off', this.#brokenOff],
      ['makings of parts paused', this.#paused],
      ['parts made', this.#made],
    ];
  }
}
