/** Lists an input and says what scoring it would come to. Scores nothing, writes nothing; 10 bytes of memory a file, and as much again for each plan in turn. */
import { extname } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { MiniBatchSize } from '../common/core/deployment.ts';
import { unreadableIdentity } from '../common/core/input.ts';
import { emptyInputText, type InputSelection } from '../common/core/input-selection.ts';
import { limits } from '../common/core/limits.ts';
import type { SplitCount, SplitRule } from '../common/core/split.ts';
import { skippedTotal, type SkippedNames } from '../common/core/skipped-names.ts';
import type { Population } from './core/sample.ts';
import { grown, outlookOf, spreadOf, type Outlook, type SizeSpread } from './core/outlook.ts';
import type { SampleReport } from './core/sample-report.ts';
import type { Inputs } from './input/input-by-location.ts';
import type { InputListing } from './input/list-input.ts';
import { identified } from './input/listed-paths.ts';
import { splitListing } from './input/split-listing.ts';

/** As JSON for callers, with the names that settings have. */
export interface PlanReport {
  readonly deployment: string;
  readonly input_path: string;
  readonly files: number;
  readonly bytes: number;
  /** Large files that are counted as their parts; absent: none is. */
  readonly split?: SplitCount;
  /** Files that cannot be looked at: they would fail with INPUT_UNREADABLE. */
  readonly unreadable: number;
  readonly skipped: number;
  readonly skipped_by: Readonly<SkippedNames>;
  /** Most files first. */
  readonly types: readonly { readonly extension: string; readonly files: number; readonly bytes: number }[];
  readonly file_bytes: Omit<SizeSpread, 'buckets'>;
  readonly histogram: readonly {
    readonly from_bytes: number;
    readonly to_bytes: number;
    readonly files: number;
    readonly bytes: number;
  }[];
  readonly slots: number;
  /** Of each slot, were they all busy to the end. */
  readonly lower_bound_bytes: number;
  /** That of the deployment first. */
  readonly plans: readonly PlanView[];
  /** What some of the files came to when they were really scored; absent: none were. */
  readonly sample?: SampleReport;
}

export interface PlanView {
  readonly mini_batch_size: string;
  readonly mini_batches: number;
  readonly mean_bytes: number;
  readonly largest_bytes: number;
  /** The largest mini-batch over the mean one. */
  readonly skew: number;
  /** Bytes of the slot that ends last. */
  readonly makespan_bytes: { readonly input_order: number; readonly longest_first: number };
  /** The same over the lower bound: 1 is best. */
  readonly over_lower_bound: { readonly input_order: number; readonly longest_first: number };
}

export interface PlanInputOptions {
  /** How inputs are listed, wherever they are. */
  readonly inputs: Pick<Inputs, 'listInput'>;
  /** Name of the deployment, and how it cuts mini-batches. */
  readonly deployment: string;
  readonly miniBatchSize: MiniBatchSize;
  /** Null: all files stay whole. */
  readonly splitRule?: SplitRule | null;
  readonly inputPath: string;
  readonly selection: InputSelection;
  /** Scoring processes of all worker nodes together. */
  readonly slots: number;
  /** Called after each page, with the files so far. */
  readonly onProgress: (files: number) => void;
}

/** What the deployment's own plan is held against. */
const otherPlans: readonly MiniBatchSize[] = [
  { kind: 'files', files: 10 },
  { kind: 'bytes', bytes: 65_536 },
  { kind: 'auto' },
];

/** What was found of an input. */
export interface InputLook {
  readonly report: PlanReport;
  readonly population: Population;
  /** As listed: with the identity of the list, where there is one. */
  readonly selection: InputSelection;
}

/** @throws INPUT_NOT_FOUND, INPUT_EMPTY, INPUT_UNREADABLE, INPUT_LIST_INVALID, INPUT_CHANGED, REQUEST_INVALID */
export async function lookAtInput(options: PlanInputOptions): Promise<InputLook> {
  const { deployment, miniBatchSize, inputPath, slots } = options;
  const selection = await identified(options.selection);
  const listing = splitListing(options.inputs.listInput(inputPath, selection), options.splitRule ?? null);
  const tally = await tallyOf(listing, options.onProgress);
  const { sizes, bytes } = tally;
  if (sizes.length === 0) throw new BatchError('INPUT_EMPTY', emptyInputText(inputPath, selection, listing.skipped));
  const { buckets, ...fileBytes } = spreadOf(sizes);
  const wanted = [miniBatchSize, ...otherPlans];
  const plans = wanted.filter((size, index) => wanted.findIndex((one) => textOf(one) === textOf(size)) === index);
  const report: PlanReport = {
    deployment,
    input_path: inputPath,
    files: sizes.length,
    bytes,
    ...(listing.split && listing.split.files > 0 ? { split: { ...listing.split } } : {}),
    unreadable: tally.unreadable,
    skipped: skippedTotal(listing.skipped),
    skipped_by: { ...listing.skipped },
    types: typesOf(tally.types),
    file_bytes: fileBytes,
    histogram: buckets.map((one) => ({
      ...{ from_bytes: one.fromBytes, to_bytes: one.toBytes, files: one.files, bytes: one.bytes },
    })),
    slots,
    lower_bound_bytes: Math.round(bytes / slots),
    plans: plans.map((size) => planView(size, outlookOf(sizes, size, slots), bytes / slots)),
  };
  return { report, population: { sizesBytes: sizes, types: tally.typeOf }, selection };
}

interface Amount {
  /** In order of appearance. */
  readonly type: number;
  files: number;
  bytes: number;
}

interface Tally {
  readonly sizes: Float64Array;
  readonly bytes: number;
  readonly unreadable: number;
  readonly types: ReadonlyMap<string, Amount>;
  /** Of each file. */
  readonly typeOf: Uint16Array;
}

async function tallyOf(listing: InputListing, onProgress: (files: number) => void): Promise<Tally> {
  let sizes = new Float64Array(limits.manifestChunkFiles);
  let typeOf = new Uint16Array(sizes.length);
  let [files, bytes, unreadable] = [0, 0, 0];
  const types = new Map<string, Amount>();
  for await (const page of listing) {
    while (files + page.length > sizes.length) {
      sizes = grown(sizes);
      const wider = new Uint16Array(sizes.length);
      wider.set(typeOf);
      typeOf = wider;
    }
    for (const { path, sizeBytes, identity, part } of page) {
      sizes[files] = sizeBytes;
      // A file is counted once, its bytes with each part.
      const isFile = part === undefined || part.begin === 0;
      typeOf[files] = count(types, extname(path).toLowerCase(), sizeBytes, isFile);
      files += 1;
      bytes += sizeBytes;
      if (identity === unreadableIdentity) unreadable += 1;
    }
    onProgress(files);
  }
  return { sizes: sizes.subarray(0, files), bytes, unreadable, types, typeOf: typeOf.subarray(0, files) };
}

/** Endings that are names of their own, such as numbers, are counted together. Gives the number of the type. */
function count(types: Map<string, Amount>, extension: string, bytes: number, isFile: boolean): number {
  const key = types.has(extension) || types.size < limits.planTypesMax ? extension : 'other';
  const amount = types.get(key) ?? { type: types.size, files: 0, bytes: 0 };
  if (isFile) amount.files += 1;
  amount.bytes += bytes;
  types.set(key, amount);
  return amount.type;
}

function typesOf(types: ReadonlyMap<string, Amount>): PlanReport['types'] {
  const all = [...types].map(([extension, { files, bytes }]) => ({ extension, files, bytes }));
  return all.sort((a, b) => b.files - a.files || (a.extension < b.extension ? -1 : 1));
}

function planView(size: MiniBatchSize, outlook: Outlook, boundBytes: number): PlanView {
  const over = (bytes: number): number => (boundBytes === 0 ? 1 : rounded(bytes / boundBytes));
  const { inputOrderBytes, longestFirstBytes } = outlook;
  return {
    mini_batch_size: textOf(size),
    mini_batches: outlook.miniBatches,
    mean_bytes: Math.round(outlook.meanBytes),
    largest_bytes: outlook.largestBytes,
    skew: rounded(outlook.skew),
    makespan_bytes: { input_order: inputOrderBytes, longest_first: longestFirstBytes },
    over_lower_bound: { input_order: over(inputOrderBytes), longest_first: over(longestFirstBytes) },
  };
}

const rounded = (value: number): number => Math.round(value * 1_000) / 1_000;

/** As a deployment has it: `10`, `64KB`, `auto`. */
function textOf(size: MiniBatchSize): string {
  if (size.kind === 'files') return String(size.files);
  if (size.kind === 'auto') return 'auto';
  if (size.kind === 'seconds') return `${size.seconds}s`;
  for (const [unit, bytes] of [
    ['GB', 1_073_741_824],
    ['MB', 1_048_576],
    ['KB', 1_024],
  ] as const) {
    if (size.bytes % bytes === 0) return `${size.bytes / bytes}${unit}`;
  }
  return `${size.bytes}B`;
}
