/**
 * Some files of an input that stand for all: which, and what they say of the whole. Pure: sizes in, ordinals out; seconds
 * in, an estimate out.
 */

/** Sizes and types of all files by ordinal: typed arrays, as there may be millions. */
export interface Population {
  readonly sizesBytes: Float64Array;
  /** A number for each file's type. */
  readonly types: Uint16Array;
}

export interface Chosen {
  /** In input order; no file twice. */
  readonly ordinals: readonly number[];
  /** Those that were taken on purpose: smallest, median, largest, of each type. They stand for themselves alone. */
  readonly certain: ReadonlySet<number>;
  /** What the others stand for: all files that were not taken on purpose. */
  readonly rest: { readonly files: number; readonly bytes: number };
}

/** Of the sample, so many files at least are spread over all sizes. */
const spreadShare = 3;

/**
 * The largest file, the median, the smallest and one of middle size of each type, most frequent types first; the rest by
 * systematic sampling of the files by size, with a chance that grows with it: bytes, and the mean beside them, so that
 * small and empty files are not passed over. The same input gives the same sample.
 */
export function chooseSample({ sizesBytes, types }: Population, wanted: number): Chosen {
  const files = sizesBytes.length;
  if (wanted >= files) {
    const ordinals = Array.from({ length: files }, (_, ordinal) => ordinal);
    return { ordinals, certain: new Set(ordinals), rest: { files: 0, bytes: 0 } };
  }
  // A native sort of numbers is in place; one of ordinals by their sizes would hold an object each.
  const sorted = Float64Array.from(sizesBytes).sort();
  const certain = new Set<number>();
  const certainMax = Math.max(1, wanted - Math.ceil(wanted / spreadShare));
  for (const rank of outstanding(sizesBytes, types, sorted)) {
    if (certain.size === certainMax) break;
    certain.add(rank);
  }
  takeHuge(sorted, certain, wanted);
  const spread = systematic(sorted, certain, wanted - certain.size);
  const ordinals = ordinalsOf(sizesBytes, sorted, [...certain, ...spread]);
  return {
    ordinals: ordinals.toSorted((a, b) => a - b),
    certain: new Set(ordinals.slice(0, certain.size)),
    rest: { files: files - certain.size, bytes: bytesWithout(sorted, certain) },
  };
}

/** Ranks, which are places in the order by size, and by ordinal where sizes are equal. */
function* outstanding(sizesBytes: Float64Array, types: Uint16Array, sorted: Float64Array): Generator<number> {
  yield sorted.length - 1;
  yield (sorted.length - 1) >> 1;
  yield 0;
  const counts = new Map<number, number>();
  for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1);
  // One array for all types: `filter` would make an object of each size.
  const room = new Float64Array(Math.max(...counts.values()));
  for (const [type, count] of [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0])) {
    const own = room.subarray(0, count);
    let filled = 0;
    for (let ordinal = 0; ordinal < types.length; ordinal += 1) {
      if (types[ordinal] === type) own[filled++] = sizesBytes[ordinal] as number;
    }
    own.sort();
    const size = own[(count - 1) >> 1] as number;
    const ordinal = types.findIndex((one, at) => one === type && sizesBytes[at] === size);
    let rank = firstRank(sorted, size);
    for (let at = 0; at < ordinal; at += 1) if (sizesBytes[at] === size) rank += 1;
    yield rank;
  }
}

function firstRank(sorted: Float64Array, size: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < size) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** In the order of the ranks. */
function ordinalsOf(sizesBytes: Float64Array, sorted: Float64Array, ranks: readonly number[]): readonly number[] {
  const wanted = new Map<number, Map<number, number>>();
  for (const [place, rank] of ranks.entries()) {
    const size = sorted[rank] as number;
    const places = wanted.get(size) ?? new Map<number, number>();
    wanted.set(size, places.set(rank - firstRank(sorted, size), place));
  }
  const found: number[] = [];
  const passed = new Map<number, number>();
  // Of a million sizes that were looked up in the map, each would become an object on the way.
  const sought = Float64Array.from(wanted.keys()).sort();
  for (let ordinal = 0; ordinal < sizesBytes.length; ordinal += 1) {
    const size = sizesBytes[ordinal] as number;
    const places = sought[firstRank(sought, size)] === size ? wanted.get(size) : undefined;
    if (places === undefined) continue;
    const before = passed.get(size) ?? 0;
    const place = places.get(before);
    if (place !== undefined) found[place] = ordinal;
    passed.set(size, before + 1);
  }
  return found;
}

/** Files that are larger than what one file of the sample stands for are taken as well: else they would be taken twice. */
function takeHuge(sorted: Float64Array, certain: Set<number>, wanted: number): void {
  let bytes = bytesWithout(sorted, certain);
  for (let rank = sorted.length - 1; rank >= 0 && certain.size < wanted - 1; rank -= 1) {
    if (certain.has(rank)) continue;
    const size = sorted[rank] as number;
    const files = sorted.length - certain.size;
    if (size + bytes / files < (2 * bytes) / (wanted - certain.size)) return;
    certain.add(rank);
    bytes -= size;
  }
}

function bytesWithout(sorted: Float64Array, ranks: ReadonlySet<number>): number {
  let sum = 0;
  for (const bytes of sorted) sum += bytes;
  for (const rank of ranks) sum -= sorted[rank] as number;
  return sum;
}

/** Every file that holds a mark, the marks being evenly apart over the sum of all chances. */
function systematic(sorted: Float64Array, without: ReadonlySet<number>, count: number): readonly number[] {
  const rest = { files: sorted.length - without.size, bytes: bytesWithout(sorted, without) };
  const step = (rest.bytes > 0 ? 2 * rest.bytes : rest.files) / count;
  const taken: number[] = [];
  let passed = 0;
  for (let rank = 0; rank < sorted.length && taken.length < count; rank += 1) {
    if (without.has(rank)) continue;
    passed += chanceOf(sorted[rank] as number, rest);
    if (passed > step * (taken.length + 0.5)) taken.push(rank);
  }
  return taken;
}

/** How likely a file of this size is chosen, beside others of `rest`. */
export function chanceOf(sizeBytes: number, rest: Chosen['rest']): number {
  return rest.bytes > 0 ? sizeBytes + rest.bytes / rest.files : 1;
}

/** What was found of one file of the sample. */
export interface SamplePoint {
  readonly bytes: number;
  /** What is estimated: seconds, rows, bytes of output. */
  readonly value: number;
  readonly isCertain: boolean;
  /** Its process had done nothing before: it may have taken longer than another one would. */
  readonly isFirst: boolean;
}

export interface Estimate {
  readonly total: number;
  /** Nine of ten such intervals hold the true total; null where the sample is too small to say. */
  readonly interval: readonly [number, number] | null;
  /** What a file costs by itself, what each of its bytes costs, and what the first one of a process costs beside. None is below 0. */
  readonly perFile: number;
  readonly perByte: number;
  readonly perFirst: number;
}

/**
 * The sum over all files: a line through the sample (file, bytes, first of a process), and what its spread files lie above or
 * below it, each as much as it stands for. Right for any input, and close where the line is; the spread of those distances gives
 * the interval.
 * @source survey sampling: the generalized regression estimator under sampling proportional to size
 */
export function estimateTotal(points: readonly SamplePoint[], rest: Chosen['rest']): Estimate {
  const line = fitLine(points, rest);
  const [perFile, perByte, perFirst] = line;
  const expected = ({ bytes }: SamplePoint): number => perFile + perByte * bytes;
  const settled = ({ value, isFirst }: SamplePoint): number => Math.max(0, value - (isFirst ? perFirst : 0));
  const certain = points.filter((point) => point.isCertain).reduce((sum, point) => sum + settled(point), 0);
  const known = { perFile, perByte, perFirst };
  if (rest.files === 0) return { ...known, total: certain, interval: [certain, certain] };
  const spread = points.filter((point) => !point.isCertain);
  const chances = rest.bytes > 0 ? 2 * rest.bytes : rest.files;
  const distances = spread.map((point) => (settled(point) - expected(point)) / chanceOf(point.bytes, rest));
  const mean = distances.reduce((sum, one) => sum + one, 0) / Math.max(1, distances.length);
  const total = Math.max(certain, certain + perFile * rest.files + perByte * rest.bytes + chances * mean);
  const free = spread.length - line.filter((rate) => rate > 0).length;
  if (free < 1) return { ...known, total, interval: null };
  const squares = distances.reduce((sum, one) => sum + (one - mean) ** 2, 0);
  const error = chances * Math.sqrt(squares / free / spread.length);
  // What was not chosen is what is not known.
  const half = tenth(free) * error * Math.sqrt(1 - spread.length / rest.files);
  return { ...known, total, interval: [Math.max(certain, total - half), total + half] };
}

type Line = readonly [number, number, number];

/** Least squares with no rate below 0, where a file counts the less the more it is likely to stray. */
function fitLine(points: readonly SamplePoint[], rest: Chosen['rest']): Line {
  const whole =
    rest.files > 0 ? rest : { files: points.length, bytes: points.reduce((sum, { bytes }) => sum + bytes, 0) };
  const rows = points.map(({ bytes, value, isFirst }) => {
    const weight = 1 / chanceOf(bytes, whole);
    return { terms: [weight, bytes * weight, isFirst ? weight : 0], value: value * weight };
  });
  const rates = [0, 0, 0];
  for (let sweep = 0; sweep < sweeps; sweep += 1) {
    for (const at of [1, 0, 2]) {
      let [product, square] = [0, 0];
      for (const { terms, value } of rows) {
        const term = terms[at] as number;
        const others = terms.reduce((sum, one, i) => (i === at ? sum : sum + one * (rates[i] as number)), 0);
        product += term * (value - others);
        square += term * term;
      }
      rates[at] = square > 0 ? Math.max(0, product / square) : 0;
    }
  }
  return rates as unknown as Line;
}

/** Of {@link fitLine}: one rate after the other, until they do not change any more. */
const sweeps = 400;

/** Student's t of which one in twenty is above, by degrees of freedom. */
const tenths = [6.314, 2.92, 2.353, 2.132, 2.015, 1.943, 1.895, 1.86, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753];
const tenth = (free: number): number => tenths[free - 1] ?? 1.645 + 1.6 / free;
