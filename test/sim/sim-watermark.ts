/** What readers were told to be final, held against the simulated disk: it never shrinks, and its rows never change, whatever crashes. */
import type { Event } from '../../coordinator/core/events.ts';
import type { Job, Ledger } from '../../coordinator/core/ledger.ts';
import { Watermarks } from '../../coordinator/views/watermarks.ts';
import type { SimFile } from './sim-disk.ts';

export class SimWatermark {
  #marks: Watermarks | null = null;
  #promised = 0;
  #generation = 1;
  #rows = '';

  /** A process has replayed its journal and recovered the output. Returns what is wrong. */
  begin(ledger: Ledger, job: Job | undefined, output: SimFile): readonly string[] {
    this.#marks = new Watermarks(ledger);
    this.#follow(job);
    if (this.#promised === 0) return [];
    const mark = job ? this.#marks.of(job) : 0;
    if (mark < this.#promised) return [`bytes up to ${this.#promised} were told to be final, after a restart ${mark}`];
    const found = rowsOf(output, this.#promised);
    return found === this.#rows ? [] : [`final rows ${this.#rows} are ${found} after a restart`];
  }

  publish(event: Event, job: Job | undefined, output: SimFile): readonly string[] {
    this.#marks?.publish(event);
    if (event.kind === 'JobPruned') this.forget();
    this.#follow(job);
    const mark = job && this.#marks ? this.#marks.of(job) : this.#promised;
    if (mark === this.#promised) return [];
    if (mark < this.#promised) return [`the watermark goes back from ${this.#promised} to ${mark} at ${event.kind}`];
    const before = rowsOf(output, this.#promised);
    const faults = before === this.#rows ? [] : [`final rows ${this.#rows} have become ${before}`];
    this.#promised = mark;
    this.#rows = rowsOf(output, mark);
    return this.#rows.startsWith('nothing')
      ? [...faults, `bytes up to ${mark} are told to be final: ${this.#rows}`]
      : faults;
  }

  /** Another generation is another file. */
  #follow(job: Job | undefined): void {
    if (!job || job.generation === this.#generation) return;
    this.#generation = job.generation;
    this.forget();
  }

  /** The job was pruned, and its output is nobody's. */
  forget(): void {
    this.#promised = 0;
    this.#rows = '';
  }
}

function rowsOf(output: SimFile, bytes: number): string {
  const found = output.read(0, bytes);
  return typeof found === 'string' ? found : found.map(({ file }) => file).join(',');
}
