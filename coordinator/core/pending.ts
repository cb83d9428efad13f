/**
 * What of a job may be leased: mini-batches that are pending, by their place in the input order and by their length, and
 * runs of files that are not cut yet, with the large files in them. Everything leaves by its state: what is not pending or
 * uncut any more is passed over when it comes up.
 */
import { limits } from '../../common/core/limits.ts';
import type { BatchTable } from './batch-table.ts';
import type { FileSizes } from './file-sizes.ts';
import { RankHeap } from './rank-heap.ts';
import { lengthOf, nothingLearned, type Learned } from './rates.ts';

export class Pending {
  readonly #batches: BatchTable;
  readonly #sizes: FileSizes;
  readonly #inOrder: RankHeap;
  readonly #byLength: RankHeap;
  /** Ordinals of files that are much larger than the mean was when they were listed. */
  readonly #largeFiles: RankHeap;
  /** Uncut rows of the table, in input order. */
  readonly #runs: number[] = [];
  /** By what the order by length goes. */
  #learned: Learned = nothingLearned;

  constructor(batches: BatchTable, sizes: FileSizes) {
    this.#batches = batches;
    this.#sizes = sizes;
    const isLive = (batch: number): boolean => batches.state(batch) === 'pending';
    const isEarlier = (a: number, b: number): boolean => batches.first(a) < batches.first(b);
    this.#inOrder = new RankHeap({ isLive, isBefore: isEarlier });
    const length = (batch: number): number => lengthOf(this.#learned, 1, batches.files(batch), batches.bytesOf(batch));
    this.#byLength = new RankHeap({
      isLive,
      isBefore: (a, b) => {
        const longer = length(a) - length(b);
        return longer > 0 || (longer === 0 && isEarlier(a, b));
      },
    });
    this.#largeFiles = new RankHeap({
      isLive: (file) => this.runOf(file) !== undefined,
      isBefore: (a, b) => sizes.bytes(a) > sizes.bytes(b) || (sizes.bytes(a) === sizes.bytes(b) && a < b),
    });
  }

  get isEmpty(): boolean {
    return this.#runs.length === 0 && this.#inOrder.peek() === undefined;
  }

  /** Whether mini-batches are still to be cut. */
  get hasRuns(): boolean {
    return this.#runs.length > 0;
  }

  push(batch: number): void {
    this.#inOrder.push(batch);
    this.#byLength.push(batch);
  }

  /** A row of the table that is uncut. */
  addRun(run: number): void {
    this.#runs.splice(this.#placeOf(this.#batches.first(run)), 0, run);
  }

  removeRun(run: number): void {
    const place = this.#placeOf(this.#batches.first(run));
    if (this.#runs[place] === run) this.#runs.splice(place, 1);
  }

  /** Looks for large files among some of a run. `meanBytes`: of all files that are listed. */
  noteFiles(first: number, count: number, meanBytes: number): void {
    const least = limits.largeFileMeans * meanBytes;
    for (let file = first; file < first + count; file += 1) {
      if (this.#sizes.bytes(file) > least) this.#largeFiles.push(file);
    }
  }

  clear(): void {
    this.#inOrder.clear();
    this.#byLength.clear();
    this.#largeFiles.clear();
    this.#runs.length = 0;
  }

  /** The mini-batch or run that is lowest in the input order. */
  first(): number | undefined {
    return this.#lower(this.#inOrder.peek());
  }

  /** The same of those mini-batches that `isIt`, or one of the lowest; undefined when none of the first few is. */
  find(isIt: (batch: number) => boolean): number | undefined {
    return this.#lower(this.#inOrder.find(isIt));
  }

  /** The longest mini-batch. */
  longest(learned: Learned): number | undefined {
    // Now and then: the rates settle, and each time all that is pending is looked at.
    if (learned.results >= limits.reorderGrowth * Math.max(1, this.#learned.results)) {
      this.#learned = learned;
      this.#byLength.reorder();
    }
    return this.#byLength.peek();
  }

  /** The largest of the large files that are not cut yet. */
  largestFile(): number | undefined {
    return this.#largeFiles.peek();
  }

  /** The run that a file is in; undefined when it is cut. */
  runOf(file: number): number | undefined {
    const run = this.#runs[this.#placeOf(file + 1) - 1];
    if (run === undefined || file >= this.#batches.first(run) + this.#batches.files(run)) return undefined;
    return run;
  }

  #lower(batch: number | undefined): number | undefined {
    const run = this.#runs[0];
    if (batch === undefined || run === undefined) return batch ?? run;
    return this.#batches.first(run) < this.#batches.first(batch) ? run : batch;
  }

  /** By bisection: runs that begin before `first`. */
  #placeOf(first: number): number {
    let [low, high] = [0, this.#runs.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#batches.first(this.#runs[middle] as number) < first) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
