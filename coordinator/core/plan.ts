/**
 * Cuts the input order into mini-batches: by files and by bytes as it is listed, a page at a time; by time when they are
 * granted, so that what the results so far have taught is used.
 */
import { limits } from '../../common/core/limits.ts';
import type { DeploymentSettings, MiniBatchSize } from '../../common/core/deployment.ts';
import { unreachable } from '../../common/core/invariant.ts';
import type { FileSizes } from './file-sizes.ts';
import { givenByFile, lengthOf, type Learned } from './rates.ts';

/** Sizes that are cut as the input is listed. */
export type ListedSize = Extract<MiniBatchSize, { readonly kind: 'files' | 'bytes' }>;

/** Whether mini-batches are cut when they are granted. */
export function isCutLate(size: MiniBatchSize): size is Exclude<MiniBatchSize, ListedSize> {
  return size.kind === 'auto' || size.kind === 'seconds';
}

/** Files that were listed and are not yet in a mini-batch. */
export interface OpenCut {
  readonly files: number;
  readonly bytes: number;
}

export const emptyCut: OpenCut = { files: 0, bytes: 0 };

export interface Cuts {
  /** Files of each new mini-batch, in order; the first one takes the open files in. */
  readonly sizes: readonly number[];
  /** Bytes of each. */
  readonly bytes: readonly number[];
  readonly open: OpenCut;
}

/** Whether a mini-batch of `cut` is full before a file of `nextBytes` is added. */
function isFull(cut: OpenCut, nextBytes: number, size: ListedSize): boolean {
  if (cut.files === 0) return false;
  if (cut.files >= limits.miniBatchFilesMax) return true;
  return size.kind === 'files' ? cut.files >= size.files : cut.bytes + nextBytes > size.bytes;
}

/** `sizesBytes`: size of each file of the page, in input order. A file larger than the wanted bytes is alone. */
export function cutPage(open: OpenCut, sizesBytes: ArrayLike<number>, size: ListedSize): Cuts {
  const cuts: OpenCut[] = [];
  let { files, bytes } = open;
  const close = (): void => {
    cuts.push({ files, bytes });
    files = 0;
    bytes = 0;
  };
  for (let index = 0; index < sizesBytes.length; index += 1) {
    const fileBytes = sizesBytes[index] as number;
    if (isFull({ files, bytes }, fileBytes, size)) close();
    files += 1;
    bytes += fileBytes;
  }
  if (size.kind === 'files' && files === size.files) close();
  return { ...columnsOf(cuts), open: { files, bytes } };
}

/** The listing has ended, or what follows is cut in another way: what is open is the last mini-batch. */
export function cutEnd(open: OpenCut): Omit<Cuts, 'open'> {
  return columnsOf(open.files > 0 ? [open] : []);
}

function columnsOf(cuts: readonly OpenCut[]): Omit<Cuts, 'open'> {
  return { sizes: cuts.map(({ files }) => files), bytes: cuts.map(({ bytes }) => bytes) };
}

/** Files of a page that become mini-batches, or stay uncut, as in `PageListed`. */
export interface FreshStretch {
  readonly sizes: readonly number[];
  readonly sizesBytes: readonly number[];
  readonly fileBytes?: readonly number[];
}

/** Files that are to be scored. What an earlier life of the job, under another size, has left open comes before. */
export function cutListed(
  open: OpenCut,
  fileBytes: readonly number[],
  size: MiniBatchSize,
): FreshStretch & Pick<Cuts, 'open'> {
  if (!isCutLate(size)) {
    const cuts = cutPage(open, fileBytes, size);
    return { sizes: cuts.sizes, sizesBytes: cuts.bytes, open: cuts.open };
  }
  const { sizes, bytes } = cutEnd(open);
  return { sizes, sizesBytes: bytes, ...(fileBytes.length > 0 ? { fileBytes } : {}), open: emptyCut };
}

/** What the length of a mini-batch that is cut now depends on. */
export interface CutMood {
  readonly settings: Pick<DeploymentSettings, 'miniBatchSize' | 'timeoutMs'>;
  readonly learned: Learned;
  /** Length of all that is not granted yet. */
  readonly rest: number;
  /** Length of the files that are, or were once. */
  readonly begun: number;
  /** Slots that may work on it. */
  readonly slots: number;
  readonly isListed: boolean;
  /** Attempts have failed, and none has come to a result. */
  readonly isSuspect: boolean;
}

/**
 * Seconds that a mini-batch is to take. `auto`: long enough that what each costs by itself does not count, and shorter
 * when little is left, so that all slots end together: a share of what each slot has still to do (guided self-scheduling).
 */
export function targetSeconds({ settings, learned, rest, slots, isListed }: CutMood): number {
  const { miniBatchSize: size, timeoutMs } = settings;
  const secondsMax = timeoutMs / 1_000 / limits.targetTimeoutShare;
  if (size.kind === 'seconds') return Math.min(size.seconds, secondsMax);
  const own = learned.rates?.perBatch ?? 0;
  const wanted = Math.max(limits.autoSeconds, Math.min(limits.autoSecondsMax, limits.autoOverheads * own));
  const most = Math.min(wanted, secondsMax);
  if (!isListed) return most;
  const least = Math.max(limits.autoSecondsMin, limits.autoOverheadsMin * own);
  return Math.min(most, Math.max(least, rest / slots / limits.autoTailShare));
}

/** The same while the job begins, so that rows come soon and a bad guess costs little: twice what each slot has had until now. */
function secondsToBegin({ settings, learned, begun, slots }: CutMood): number {
  if (settings.miniBatchSize.kind !== 'auto') return Number.POSITIVE_INFINITY;
  const least = limits.autoOverheadsMin * (learned.rates?.perBatch ?? 0);
  return Math.max(limits.autoSecondsFirst, least, (2 * begun) / slots);
}

/** Files of the mini-batch to cut from the front of a run, which has `count` from `first` on. */
export function filesToCut(mood: CutMood, sizes: FileSizes, first: number, count: number): number {
  const { settings, learned } = mood;
  // Nobody knows how long one takes: to find out costs least with one.
  if (learned.rates === null) return Math.min(count, mood.isSuspect ? limits.cutFilesSuspect : limits.cutFilesFirst);
  const isAuto = settings.miniBatchSize.kind === 'auto';
  const [filesMax, bytesMax] = isAuto
    ? [limits.miniBatchAutoFilesMax, limits.miniBatchAutoBytesMax]
    : [limits.miniBatchFilesMax, Number.POSITIVE_INFINITY];
  const resultFits = isAuto ? limits.miniBatchAutoResultBytes / givenByFile(learned) : Number.POSITIVE_INFINITY;
  const most = Math.min(count, filesMax, limits.cutGrowth * learned.filesMax, learned.filesFit, resultFits);
  const target = Math.min(targetSeconds(mood), secondsToBegin(mood));
  let bytes = sizes.bytes(first);
  let files = 1;
  for (; files + 1 <= most; files += 1) {
    bytes += sizes.bytes(first + files);
    if (bytes > bytesMax || lengthOf(learned, 1, files + 1, bytes) > target) break;
  }
  return files;
}

/** Cuts a whole run at once, of which nothing is known but its sizes. */
export function cutRun(sizesBytes: ArrayLike<number>, size: MiniBatchSize): Omit<Cuts, 'open'> {
  switch (size.kind) {
    case 'files':
    case 'bytes': {
      const { sizes, bytes, open } = cutPage(emptyCut, sizesBytes, size);
      const end = cutEnd(open);
      return { sizes: [...sizes, ...end.sizes], bytes: [...bytes, ...end.bytes] };
    }
    case 'auto':
    case 'seconds':
      return { sizes: [sizesBytes.length], bytes: [sumOf(sizesBytes)] };
    default:
      return unreachable(size);
  }
}

export function sumOf(sizesBytes: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < sizesBytes.length; index += 1) sum += sizesBytes[index] as number;
  return sum;
}
