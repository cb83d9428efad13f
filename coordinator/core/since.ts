/**
 * An earlier output whose rows are taken for the files that are still the same: which it is, and what a page of the listing has
 * of it. Taken rows lie in two files that are read like staging segments: the earlier output itself, and one of the job's own with
 * what was cut out of it.
 */
import type { ResultSchema } from '../../common/core/result.ts';
import type { Place } from './batch-table.ts';
import { cutEnd, cutListed, emptyCut, type FreshStretch, type OpenCut } from './plan.ts';
import type { MiniBatchSize } from '../../common/core/deployment.ts';

/** The earlier job of an incremental one. */
export interface Since {
  /** Its name, as its manifest has it. */
  readonly job: string;
  /** Its output folder: absolute. */
  readonly dir: string;
  /** Why nothing of it is taken, for people; null: files that are the same are. */
  readonly reason: string | null;
  /** File of its rows: absolute. */
  readonly rowsPath: string;
  /** File of what is cut out of it: absolute. */
  readonly takenPath: string;
  /** Columns of its rows, which those of this job must have too; null: it has none. */
  readonly schema: ResultSchema | null;
}

/** Numbers as segments: of the earlier output, and of what was cut out of it. */
export const sinceSegment = 1;
export const takenSegment = 2;

/** What is read like staging segments, by number. */
export function sinceBases({ rowsPath, takenPath }: Since): readonly (readonly [number, string])[] {
  return [
    [sinceSegment, rowsPath],
    [takenSegment, takenPath],
  ];
}

/** The columns of what is taken are those of the whole output, also where other rows come first. */
export function fixedBy(since: Since | null | undefined): ResultSchema | null {
  return since?.reason === null ? since.schema : null;
}

/** Of neighbouring files of a page: their rows, as they lie in one of the two files. */
export interface TakenRun {
  /** Place of the first of them within the page. */
  readonly at: number;
  readonly files: number;
  readonly rows: number;
  /** Of each file; null where they are known for all of them together only. */
  readonly fileRows: readonly number[] | null;
  readonly place: Place;
}

/** Files whose rows are there already; `bytes` is of the files. */
export type TakenStretch = Omit<TakenRun, 'at'> & { readonly bytes: number };

export type Stretch = FreshStretch | TakenStretch;

export function isTakenStretch(stretch: Stretch): stretch is TakenStretch {
  return 'place' in stretch;
}

/** What one page of the listing comes to, in input order. `runs`: in ascending order, without an overlap. */
export function stretchesOf(
  before: OpenCut,
  fileBytes: ArrayLike<number>,
  runs: readonly TakenRun[],
  size: MiniBatchSize,
): { readonly stretches: readonly Stretch[]; readonly open: OpenCut } {
  const stretches: Stretch[] = [];
  let open = before;
  let next = 0;
  const bytes = Array.from(fileBytes);
  for (const { at, ...run } of runs) {
    const { open: left, ...fresh } = cutListed(open, bytes.slice(next, at), size);
    const end = cutEnd(left);
    const sizes = [...fresh.sizes, ...end.sizes];
    if (sizes.length > 0 || fresh.fileBytes !== undefined)
      stretches.push({ ...fresh, sizes, sizesBytes: [...fresh.sizesBytes, ...end.bytes] });
    next = at + run.files;
    stretches.push({ ...run, bytes: bytes.slice(at, next).reduce((sum, one) => sum + one, 0) });
    open = emptyCut;
  }
  const { open: left, ...fresh } = cutListed(open, bytes.slice(next), size);
  return { stretches: [...stretches, fresh], open: left };
}
