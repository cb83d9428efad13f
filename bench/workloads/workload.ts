/** What a workload is: files, and everybody who scores them. */
import type { Command } from '../harness/meter.ts';

/** What stays up between jobs, and how a job is given to it. */
export type Warm =
  /** A program that answers `ready`, then scores into the folder of each line that it is sent. */
  | { readonly kind: 'serves'; readonly command: Command }
  /** A coordinator and a worker node. A job is the command line of a user, or one of a program that stays up as well, as those of the peers do. */
  | { readonly kind: 'cluster'; readonly client: 'command' | 'stays'; readonly submit: readonly string[] };

/** A way to score the files of a workload. */
export interface Contender {
  readonly name: string;
  /** From nothing to the finished output; null where that is no way to do it. */
  readonly cold: ((output: string) => Command) | null;
  readonly warm: Warm | null;
  /** `none`: it leaves no rows. `unnumbered`: it does not know which row of its file a row is, so that the rows of a file are compared as a set. */
  readonly rows?: 'none' | 'unnumbered';
}

/** How rows of different contenders are told to be the same. */
export type Agreement =
  /** Tables whose rows begin with the file, and the row in it where `hasRows`; the other cells are numbers, near enough to each other. */
  | { readonly kind: 'numbers'; readonly hasRows: boolean; readonly nearness?: number }
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
  /** Batchmill first, twice, then the ceiling, then peers. */
  readonly contenders: readonly Contender[];
}

/** Where a workload is made. */
export interface Place {
  /** Share of the standard size, 1 for all of it. */
  readonly scale: number;
  /** Whether a contender of this name takes part; Batchmill and the ceiling are asked for elsewhere. */
  readonly wants: (peer: string) => boolean;
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
