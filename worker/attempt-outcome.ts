/** What came of an attempt on this node, once the host has answered: files of user code, the shadow, what is told and noted of it. */
import { toBatchError, type Failure } from '../common/core/batch-error.ts';
import { statusOf, type BatchRecord } from '../common/core/batch-record.ts';
import type { HostFile } from '../common/core/host-protocol.ts';
import type { ShadowOutcome } from '../common/core/shadow.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import type { WorkerCommand } from './core/commands.ts';
import type { CustomFolder, PutFile } from './pool/custom-folder.ts';
import type { HostProcess, Scored, ScoreFailed, ScoreOutcome } from './pool/host-process.ts';
import type { ShadowHost } from './shadow-host.ts';

/** `hasFiles`: user code has written files of its own for it. `shadow`: what came of the job's shadow; absent: it has none. */
export type Kept = Scored & { readonly hasFiles: boolean; readonly shadow?: ShadowOutcome };

/** Takes the rows. `isQuiet`: user code has left no trace but them, and the host queues. */
export type Keep = (kept: Kept, isQuiet: boolean) => WorkerCommand;

export interface AttemptOrder {
  readonly slot: number;
  readonly host: number;
  readonly work: number;
  readonly timeoutMs: number;
  /** Ordinal of the first file. */
  readonly first: number;
  /** Files of the mini-batch, with those that could not be staged. */
  readonly count: number;
  readonly token: Token;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Columns that the rows are to be widened to; null: as the scorer gives them. */
  readonly columns: readonly string[] | null;
}

/** With what the shadow makes of the same files, while they are there. */
export async function shadowed(
  outcome: ScoreOutcome,
  shadow: ShadowHost | null,
  files: readonly HostFile[],
  order: Pick<AttemptOrder, 'first' | 'columns'>,
): Promise<Kept | ScoreFailed> {
  if (outcome.kind === 'failed') return outcome;
  const kept = { ...outcome, hasFiles: outcome.body.custom.bytes > 0 };
  if (shadow === null) return kept;
  try {
    return { ...kept, shadow: await shadow.compare(outcome, files, order) };
  } catch (error) {
    await outcome.body.discard();
    return failedHere(toBatchError(error).toFailure());
  }
}

/** What user code wrote belongs to the attempt: it goes with its result, or it goes. */
export async function settleCustom(
  custom: CustomFolder,
  process: HostProcess,
  outcome: ScoreOutcome,
  store: PutFile | null,
): Promise<ScoreOutcome> {
  if (outcome.kind === 'failed') return (await undone(custom, outcome)) ? outcome : await abandoned(process, outcome);
  try {
    outcome.body.beginCustom();
    await custom.collect(new Set(outcome.appended), outcome.body, store);
    return outcome;
  } catch (error) {
    await outcome.body.discard();
    const failed = failedHere(toBatchError(error).toFailure());
    return (await undone(custom, failed)) ? failed : await abandoned(process, failed);
  }
}

/** What came of the rows on this node; the host is as good as before. */
function failedHere(failure: Failure): ScoreFailed {
  const known = { peakMemoryBytes: null, hostExit: null };
  return { kind: 'failed', failure, fileIndex: -1, class: 'error', isHostDead: false, ...known };
}

/** False when host and folder are of no use any more. */
async function undone(custom: CustomFolder, { isHostDead }: ScoreFailed): Promise<boolean> {
  // The next host begins with a new folder.
  return isHostDead || (await custom.undo().catch(() => false));
}

async function abandoned(process: HostProcess, failed: ScoreFailed): Promise<ScoreFailed> {
  await process.kill();
  return { ...failed, isHostDead: true };
}

/** What is known of an attempt beside its outcome. */
type Seen = Pick<BatchRecord, 'start' | 'run_seconds' | 'cpu_seconds' | 'stdout' | 'stderr'>;

/** One object as it is written: there is one for each mini-batch, however short. */
export function recordOf(
  { first, count, token, attempt }: AttemptOrder,
  outcome: ScoreOutcome,
  seen: Seen,
): BatchRecord {
  const isScored = outcome.kind === 'scored';
  const failure = isScored ? null : outcome.failure;
  return {
    first,
    count,
    token: formatToken(token),
    attempt,
    status: isScored ? 'RUN_DONE' : statusOf(outcome.failure.code, outcome.isHostDead),
    rows: isScored ? outcome.summary.rows : 0,
    failed: isScored ? outcome.summary.failed.length : count,
    code: failure?.code ?? null,
    message: failure?.message ?? null,
    start: seen.start,
    run_seconds: seen.run_seconds,
    cpu_seconds: seen.cpu_seconds,
    stdout: seen.stdout,
    stderr: seen.stderr,
  };
}

export function rangeText(first: number, count: number): string {
  return count === 1 ? `file ${first}` : `files ${first} to ${first + count - 1}`;
}

export function commandOf(
  outcome: Kept | ScoreFailed,
  where: Pick<AttemptOrder, 'slot' | 'host' | 'work'>,
  { keep, isQuiet }: { readonly keep: Keep; readonly isQuiet: boolean },
): WorkerCommand {
  if (outcome.kind === 'scored') return keep(outcome, isQuiet);
  const { failure, fileIndex, isHostDead, peakMemoryBytes, hostExit } = outcome;
  const { slot, host, work } = where;
  const circumstances = { peakMemoryBytes, hostExit };
  return { kind: 'attempt-failed', slot, host, work, failure, fileIndex, circumstances, isHostDead };
}
