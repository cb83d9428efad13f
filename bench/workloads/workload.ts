/** What a workload is: files, and everybody who scores them. */
import type { Command } from '../harness/meter.ts';

/** What stays up between jobs, and how a job is given to it. */
export type Warm =
  /** A program that answers `ready`, then scores into the folder of each line that it is sent. */
  | { readonly kind: 'serves'; readonly command: Command }
  /** A coordinator and a worker node; a job is a command line of a user. */
  | { readonly kind: 'cluster'; readonly invoke: (output: string) => readonly string[] };

/** A way to score the files of a workload. */
export interface Contender {
  readonly name: string;
  /** From nothing to the finished output; null where that is no way to do it. */
  readonly cold: ((output: string) => Command) | null;
  readonly warm: Warm | null;
  /** `none`: it is measured beside the others and scores nothing. */
  readonly rows?: 'none';
  /** Told in the table beside the figures: a peer that does less than the others. */
  readonly note?: string;
}

/** How rows of different contenders are told to be the same. */
export type Agreement =
  /** Tables whose rows begin with the file, and the row in it where `hasRows`; the other cells are numbers, near enough to each other. */
  | { readonly kind: 'numbers'; readonly hasRows: boolean }
  /** Lines of text, in any order. */
  | { readonly kind: 'lines' };

export interface Workload {
  readonly name: string;
  /** What is scored with what, for the table. */
  readonly title: string;
  /** Folder of the files. */
  readonly input: string;
  /** So many of what throughput counts. */
  readonly count: number;
  readonly unit: 'files' | 'rows' | 'mini-batches' | 'MB';
  readonly agreement: Agreement;
  /** Batchmill first, then the ceiling, then peers. */
  readonly contenders: readonly Contender[];
}

/** Where a workload is made. */
export interface Place {
  /** Share of the standard size, 1 for all of it. */
  readonly scale: number;
  /** Only Batchmill and the ceiling, with what the tests have installed anyway. */
  readonly isQuick: boolean;
  /** Scoring processes of everybody: one a processor. */
  readonly processes: number;
  /** A folder of `name`, made by `make` in a new folder unless it is there whole from an earlier run. */
  readonly data: (name: string, make: (dir: string) => Promise<void> | void) => Promise<string>;
  /** A Python that has the packages of `bench/requirements/NAME.txt`. */
  readonly python: (name: string) => Promise<string>;
}

/** `standard` things at this scale, at least `least`. */
export function sized({ scale }: Place, standard: number, least = 1): number {
  return Math.max(least, Math.round(standard * scale));
}
