/** Carries the listing of a job's input into its catalog and the ledger, a page at a time, while scoring goes on. */
import { BatchError } from '../common/core/batch-error.ts';
import type { JobName } from '../common/core/ids.ts';
import { inputName, samePart, type InputFile } from '../common/core/input.ts';
import { limits } from '../common/core/limits.ts';
import { skippedTotal } from '../common/core/skipped-names.ts';
import type { Delay } from '../common/io/delay.ts';
import { outsideError } from '../common/io/errno.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import type { InputListing } from './input/list-input.ts';
import type { Command } from './core/commands.ts';
import type { TakenRows } from './since/taken-rows.ts';

/** A listing of which the first page has been looked at already. */
export interface OpenListing {
  readonly first: readonly InputFile[] | null;
  readonly rest: AsyncIterator<readonly InputFile[]>;
  readonly listing: InputListing;
}

/** Looks at the first page, so that a missing or an empty input is told before a job is made. */
export async function openListing(listing: InputListing): Promise<OpenListing> {
  const rest = listing[Symbol.asyncIterator]();
  const next = await rest.next();
  return { first: next.done === true ? null : next.value, rest, listing };
}

export interface ListJobOptions {
  readonly job: JobName;
  readonly open: OpenListing;
  readonly catalog: InputCatalog;
  readonly handle: (command: Command) => void;
  readonly wall: () => number;
  readonly delay: Delay;
  /** From which rows are taken for files that are the same; null: every file is scored. */
  readonly taken: TakenRows | null;
  /** The process ends. */
  readonly signal: AbortSignal;
  /** The job has ended: nothing more of its input is of interest. */
  readonly isOver: () => boolean;
}

/**
 * After a restart the pages that are sealed already are passed over.
 * @throws INPUT_CHANGED when the folder is not the one that was being listed; INPUT_UNREADABLE, JOURNAL_CORRUPT, …
 */
export async function listJob(options: ListJobOptions): Promise<void> {
  const { job, open, catalog, handle, wall } = options;
  const isStopped = (): boolean => options.signal.aborted || options.isOver();
  const known = catalog.count;
  let seen = 0;
  for (let files = open.first; files !== null && !isStopped(); files = await nextPage(open)) {
    const fresh = files.slice(Math.max(0, Math.min(files.length, known - seen)));
    if (seen < known) await checkSame(catalog, files, seen, Math.min(files.length, known - seen));
    seen += files.length;
    if (fresh.length === 0) continue;
    const runs = (await options.taken?.runsOf(fresh)) ?? [];
    const { chunk, sizes } = await whenRoom(options, () => catalog.append(fresh));
    const taken = runs.length === 0 ? [] : await whenRoom(options, async () => (await options.taken?.take(runs)) ?? []);
    const page = { kind: 'page-listed', job, chunk, sizesBytes: sizes, wallMs: wall() } as const;
    if (!isStopped()) handle(taken.length === 0 ? page : { ...page, taken });
  }
  if (isStopped()) {
    await open.rest.return?.();
    return;
  }
  if (seen < known) throw changed(`${known} files were listed before, ${seen} are there now`);
  const { skipped, split } = open.listing;
  const parted = split && split.files > 0 ? { split } : {};
  handle({ kind: 'listing-ended', job, skipped: skippedTotal(skipped), skippedBy: skipped, ...parted, wallMs: wall() });
}

async function nextPage(open: OpenListing): Promise<readonly InputFile[] | null> {
  const next = await open.rest.next();
  return next.done === true ? null : next.value;
}

/** Tries again while the disk is full, which the job tells meanwhile. */
async function whenRoom<T>({ job, handle, delay, signal, isOver }: ListJobOptions, work: () => Promise<T>): Promise<T> {
  for (let isStalled = false; ; isStalled = true) {
    try {
      const done = await work();
      if (isStalled) handle({ kind: 'stall', job, failure: null });
      return done;
    } catch (thrown) {
      const error = outsideError(thrown, 'what is listed cannot be written down');
      if (error?.code !== 'DISK_FULL' || signal.aborted || isOver()) throw thrown;
      handle({ kind: 'stall', job, failure: error.toFailure() });
      await delay(limits.diskFullRetryMs, signal);
    }
  }
}

/** The last file that is known must be the one that now stands at its place. */
async function checkSame(
  catalog: InputCatalog,
  page: readonly InputFile[],
  first: number,
  count: number,
): Promise<void> {
  const [wanted] = await catalog.files(first + count - 1, 1);
  const found = page[count - 1];
  if (wanted?.path === found?.path && wanted?.identity === found?.identity && samePart(wanted?.part, found?.part))
    return;
  throw changed(`file ${first + count - 1} was ${wanted && inputName(wanted)} and is ${found && inputName(found)} now`);
}

function changed(what: string): BatchError {
  return new BatchError('INPUT_CHANGED', `the input changed while it was being listed: ${what}; run the job again`);
}
