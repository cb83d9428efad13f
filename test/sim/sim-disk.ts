/**
 * A disk that loses what was not synced. Result bytes are not simulated byte by byte: a file's rows are a {@link Rows},
 * which knows its length, so that offsets, truncation and overwriting are exact while a terabyte costs nothing.
 */
import type { Random } from './world.ts';

/** The rows of one input file. */
export interface Rows {
  readonly file: number;
  readonly length: number;
  /** What user code wrote by itself for the file, instead of its rows. */
  readonly isCustom?: true;
}

type Writes = Map<number, Rows>;

/** One file: what is on the disk for certain, and what has been written since. */
export class SimFile {
  #durable: Writes = new Map();
  #unsynced: { readonly offset: number; readonly rows: Rows }[] = [];
  syncs = 0;

  write(offset: number, pieces: readonly Rows[]): void {
    let at = offset;
    for (const rows of pieces) {
      this.#unsynced.push({ offset: at, rows });
      at += rows.length;
    }
  }

  sync(): void {
    this.syncs += 1;
    for (const { offset, rows } of this.#unsynced) put(this.#durable, offset, rows);
    this.#unsynced = [];
  }

  /** Of what was not synced, any part may have reached the disk. */
  crash(random: Random): void {
    for (const { offset, rows } of this.#unsynced) if (random.chance(0.5)) put(this.#durable, offset, rows);
    this.#unsynced = [];
  }

  truncate(length: number): void {
    for (const [offset, rows] of this.#durable) if (offset + rows.length > length) this.#durable.delete(offset);
  }

  /** The rows from `from` to `to`; a hole or an overlap is reported as a text. */
  read(from: number, to: number): Rows[] | string {
    const whole = new Map(this.#durable);
    for (const { offset, rows } of this.#unsynced) put(whole, offset, rows);
    const found: Rows[] = [];
    let at = from;
    while (at < to) {
      const rows = whole.get(at);
      if (!rows) return `nothing is at ${at} of ${from} to ${to}`;
      found.push(rows);
      at += rows.length;
    }
    return at === to ? found : `the last rows end at ${at}, not at ${to}`;
  }
}

/** Writes over whatever `rows` touches. */
function put(writes: Writes, offset: number, rows: Rows): void {
  const end = offset + rows.length;
  if (writes.get(offset)?.length === rows.length) {
    writes.set(offset, rows);
    return;
  }
  for (const [start, other] of writes) if (start < end && start + other.length > offset) writes.delete(start);
  writes.set(offset, rows);
}
