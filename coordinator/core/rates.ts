/**
 * How long mini-batches take: seconds for each, for each of its files and for each of their bytes, learned from results
 * as they are committed. A regression by sums, so that it costs the same after a million results, and by arithmetic
 * alone, so that a replay of the same results gives the same.
 */
import { limits } from '../../common/core/limits.ts';

/** Seconds; none is below 0. */
export interface Rates {
  readonly perBatch: number;
  readonly perFile: number;
  readonly perByte: number;
}

/** What the results so far say. Plain data that is replaced, never changed. */
export interface Learned {
  readonly results: number;
  /** Files of the largest mini-batch among them. */
  readonly filesMax: number;
  /** More files at once are too much for the memory of the nodes. */
  readonly filesFit: number;
  /** Null before the first result. */
  readonly rates: Rates | null;
  /** After so many results the rates are worked out anew. */
  readonly fitAt: number;
  /** Of 1, files and bytes over all results, older ones faded: what an average mini-batch is. */
  readonly totals: readonly number[];
  /** The same of the bytes that they gave; absent in what older releases have learned. */
  readonly given?: number;
  /** The same of the products of 1, files, bytes and seconds that {@link fit} needs, less for what is larger than the average. */
  readonly sums: readonly number[];
}

/** A result: what was scored, and the seconds inside run(). */
export interface Sample {
  readonly files: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Of its rows and of the files beside them; default: none. */
  readonly givenBytes?: number;
}

export const nothingLearned: Learned = {
  results: 0,
  filesMax: 0,
  filesFit: limits.miniBatchFilesMax,
  rates: null,
  fitAt: 1,
  totals: [0, 0, 0],
  sums: [0, 0, 0, 0, 0, 0, 0, 0, 0],
};

/** Until a first result is there, length is told in bytes, and a file is one more. */
const bytesAlone: Rates = { perBatch: 0, perFile: 1, perByte: 1 };

/** Sweeps of {@link fit}: files and bytes grow together, so that it takes some to tell them apart. */
const sweeps = 200;

/** Seconds, or bytes as long as nothing is learned: lengths of one job compare. */
export function lengthOf(learned: Learned, batches: number, files: number, bytes: number): number {
  const { perBatch, perFile, perByte } = learned.rates ?? bytesAlone;
  return perBatch * batches + perFile * files + perByte * bytes;
}

/**
 * A long mini-batch does not outweigh many short ones, and one that was held up by something else counts as some times of
 * what was expected at most. What was learned long ago fades: scorers are slow at first, nodes come and go.
 */
export function learn(learned: Learned, { files, bytes, seconds, givenBytes = 0 }: Sample): Learned {
  const results = learned.results + 1;
  const kept = 1 - 1 / Math.min(limits.ratesMemoryResults, 2 + learned.results / 2);
  const expected = learned.rates === null ? 0 : lengthOf(learned, 1, files, bytes);
  const most = results > limits.ratesTrustedResults ? limits.ratesSurpriseMax * expected : Number.POSITIVE_INFINITY;
  const came = Math.max(limits.runSecondsMin, Math.min(seconds, most));
  const totals = add(learned.totals, kept, 1, [1, files, bytes]);
  const [count, allFiles, allBytes] = totals as [number, number, number];
  const size = 1 + (files * count) / allFiles + (allBytes > 0 ? (bytes * count) / allBytes : 0);
  const products = [1, files, bytes, files * files, files * bytes, bytes * bytes, came, files * came, bytes * came];
  const sums = add(learned.sums, kept, 1 / size ** 2, products);
  const isDue = results >= learned.fitAt;
  return {
    results,
    filesMax: Math.max(learned.filesMax, files),
    filesFit: learned.filesFit,
    rates: isDue ? fit(sums, learned.rates) : learned.rates,
    fitAt: isDue ? results + 1 + Math.floor(results / limits.ratesFitShare) : learned.fitAt,
    totals,
    given: kept * (learned.given ?? 0) + givenBytes,
    sums,
  };
}

/** Bytes that a file gives on average; 0 while nobody knows. */
export function givenByFile({ given = 0, totals }: Learned): number {
  const [, files = 0] = totals;
  return files > 0 ? given / files : 0;
}

/** A mini-batch of so many files ran out of memory although nothing else was scored on its node. */
export function learnUnfit(learned: Learned, files: number): Learned {
  // It may be a single file that takes it all: then fewer beside it are no help.
  const filesFit = Math.max(limits.cutFilesFitMin, Math.floor(files / 2));
  return filesFit < learned.filesFit ? { ...learned, filesFit } : learned;
}

function add(sums: readonly number[], kept: number, weight: number, more: readonly number[]): readonly number[] {
  return sums.map((sum, index) => sum * kept + weight * (more[index] as number));
}

/** What another job begins with: its own results soon outweigh it. */
export function remembered(learned: Learned): Learned {
  const results = Math.min(learned.results, limits.ratesRememberedResults);
  return results === learned.results ? learned : { ...learned, results, fitAt: results + 1 };
}

/**
 * Least squares over rates that are not below 0, one rate after the other, from where they were. Bytes come first: what
 * files and bytes explain equally well is taken to be the bytes.
 */
function fit(sums: readonly number[], from: Rates | null): Rates {
  const [oo, of, ob, ff, fb, bb, oy, fy, by] = sums as [number, number, number, number, number, number, ...number[]];
  const products = [
    [bb, fb, ob],
    [fb, ff, of],
    [ob, of, oo],
  ] as const;
  const wanted = [by, fy, oy] as readonly number[];
  // In units of their own, so that bytes and files are alike.
  const units = [bb, ff, oo].map(Math.sqrt);
  const start = from ? [from.perByte, from.perFile, from.perBatch] : [0, 0, 0];
  const rates = units.map((unit, index) => unit * (start[index] as number));
  const rows = products.flatMap((row, one) => {
    const unit = units[one] as number;
    return unit === 0 ? [] : [{ one, wish: (wanted[one] as number) / unit, pulls: pullsOn(one, unit, row, units) }];
  });
  for (let sweep = 0; sweep < sweeps; sweep += 1) {
    let hasMoved = false;
    for (const { one, wish, pulls } of rows) {
      let left = wish;
      for (const { other, pull } of pulls) left -= pull * (rates[other] as number);
      const rate = Math.max(0, left);
      hasMoved ||= rate !== rates[one];
      rates[one] = rate;
    }
    // Every further one would give the same.
    if (!hasMoved) break;
  }
  const [perByte = 0, perFile = 0, perBatch = 0] = rates.map((rate, index) => {
    const unit = units[index] as number;
    return unit > 0 ? rate / unit : 0;
  });
  return { perBatch, perFile, perByte };
}

/** How much each other rate takes from what is left for this one. */
function pullsOn(
  one: number,
  unit: number,
  row: readonly number[],
  units: readonly number[],
): readonly { readonly other: number; readonly pull: number }[] {
  return row.flatMap((product, other) => {
    const otherUnit = units[other] as number;
    return other === one || !(otherUnit > 0) ? [] : [{ other, pull: product / unit / otherUnit }];
  });
}
