/**
 * What a job's shadow has come to: counts of rows and files by mini-batch, so that those of a result that is taken back go with it,
 * and what was measured, of all attempts that were ever committed. 40 bytes a mini-batch. Written by `evolve` alone.
 */
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { limits } from '../../common/core/limits.ts';
import {
  noShadowCounts,
  shadowCountNames,
  type OtherColumns,
  type ShadowCounts,
  type ShadowOutcome,
} from '../../common/core/shadow.ts';
import { RunTimes } from './run-times.ts';

/** Why a shadow had no result, once for each code. */
export interface ShadowReason {
  readonly code: ErrorCode;
  /** Of the first time. */
  readonly message: string;
  readonly miniBatches: number;
}

/** Both of the mini-batches of which both have a result: seconds inside run(). */
export interface BothSeconds {
  readonly default: number;
  readonly shadow: number;
}

/** All but the counts by mini-batch, as JSON. */
export interface ShadowSums {
  readonly counts: ShadowCounts;
  /** Mini-batches that were compared, of those now committed, and those for which the shadow had no result. */
  readonly compared: number;
  readonly failed: number;
  /** Of the compared ones, those whose columns have other names. */
  readonly otherColumns: number;
  /** Of the first of these. */
  readonly columns: OtherColumns | null;
  readonly reasons: readonly ShadowReason[];
  readonly seconds: BothSeconds;
  /** Counts of {@link RunTimes}. */
  readonly times: { readonly default: readonly number[]; readonly shadow: readonly number[] };
}

const noSums: ShadowSums = {
  counts: noShadowCounts,
  ...{ compared: 0, failed: 0, otherColumns: 0, columns: null, reasons: [] },
  seconds: { default: 0, shadow: 0 },
  times: { default: [], shadow: [] },
};

/** One of these stands behind the counts of each mini-batch. */
const fate = { none: 0, compared: 1, failed: 2, otherColumns: 3 } as const;

const width = shadowCountNames.length + 1;

export class ShadowTally {
  readonly #times: { readonly default: RunTimes; readonly shadow: RunTimes };
  #sums: ShadowSums;
  /** `width` entries for each mini-batch. */
  #table: Uint32Array<ArrayBuffer>;
  #batches: number;

  /** Takes the table over. */
  constructor(sums: ShadowSums = noSums, table: Uint32Array<ArrayBuffer> = new Uint32Array(0)) {
    this.#sums = sums;
    this.#times = { default: new RunTimes(sums.times.default), shadow: new RunTimes(sums.times.shadow) };
    this.#table = table;
    this.#batches = table.length / width;
  }

  /** A result is committed. `runSeconds`: of the job's own scorer. */
  add(batch: number, outcome: ShadowOutcome, runSeconds: number): void {
    const { counts, failure, columns } = outcome;
    this.#grow(batch + 1);
    shadowCountNames.forEach((name, place) => (this.#table[batch * width + place] = counts[name]));
    const came = failure ? fate.failed : columns ? fate.otherColumns : fate.compared;
    this.#table[(batch + 1) * width - 1] = came;
    this.#count(counts, came, 1);
    if (failure) return this.#note(failure);
    const { seconds } = this.#sums;
    const both = { default: seconds.default + runSeconds, shadow: seconds.shadow + outcome.runSeconds };
    this.#sums = { ...this.#sums, seconds: both, columns: this.#sums.columns ?? columns };
    this.#times.default.add(runSeconds * 1_000);
    this.#times.shadow.add(outcome.runSeconds * 1_000);
  }

  /** The result is not of the output any more. */
  takeBack(batch: number): void {
    if (batch >= this.#batches) return;
    const of = this.#table.subarray(batch * width, (batch + 1) * width);
    const counts = {
      ...noShadowCounts,
      ...Object.fromEntries(shadowCountNames.map((name, place) => [name, of[place]])),
    };
    this.#count(counts, of[width - 1] ?? fate.none, -1);
    of.fill(0);
  }

  /** Names of columns that are not the same, of the first mini-batch that has such; null: none had. */
  get columns(): OtherColumns | null {
    return this.#sums.columns;
  }

  /** Seconds below which this share of the mini-batches stays; null before the first. */
  quantile(of: 'default' | 'shadow', share: number): number | null {
    const ms = this.#times[of].quantileMs(share);
    return ms === null ? null : ms / 1_000;
  }

  sums(): ShadowSums {
    const { default: own, shadow } = this.#times;
    return { ...this.#sums, times: { default: own.counts(), shadow: shadow.counts() } };
  }

  /** A copy. */
  table(): Uint32Array<ArrayBuffer> {
    return this.#table.slice(0, this.#batches * width);
  }

  #count(counts: ShadowCounts, came: number, by: 1 | -1): void {
    const sums = this.#sums;
    const summed = Object.fromEntries(shadowCountNames.map((name) => [name, sums.counts[name] + by * counts[name]]));
    this.#sums = {
      ...sums,
      counts: { ...noShadowCounts, ...summed },
      compared: sums.compared + (came === fate.compared || came === fate.otherColumns ? by : 0),
      failed: sums.failed + (came === fate.failed ? by : 0),
      otherColumns: sums.otherColumns + (came === fate.otherColumns ? by : 0),
    };
  }

  #note({ code, message }: NonNullable<ShadowOutcome['failure']>): void {
    const { reasons } = this.#sums;
    const known = reasons.findIndex((reason) => reason.code === code);
    if (known < 0 && reasons.length === limits.shadowReasonsMax) return;
    const next =
      known < 0
        ? [...reasons, { code, message, miniBatches: 1 }]
        : reasons.map((one, place) => (place === known ? { ...one, miniBatches: one.miniBatches + 1 } : one));
    this.#sums = { ...this.#sums, reasons: next };
  }

  #grow(batches: number): void {
    this.#batches = Math.max(this.#batches, batches);
    if (batches * width <= this.#table.length) return;
    const grown = new Uint32Array(Math.max(batches, 64, (this.#table.length / width) * 2) * width);
    grown.set(this.#table);
    this.#table = grown;
  }
}
