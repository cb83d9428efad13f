/** `job wait` and `job stream`, also as the end of `job submit`. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { JobErrorsView, JobEvent, JobView } from '../../coordinator/api/backend.ts';
import { webPage } from '../api/jobs.ts';
import { exitInterrupted, interruptible, type CommandContext } from '../command-context.ts';
import { followJob } from '../follow.ts';
import { eventColumns, eventText, fateText, jobSheet, progressText, summarySheet } from '../job-text.ts';
import { createPace } from '../pace.ts';
import { formatSheet } from '../table.ts';
import { errorsText } from './job-errors.ts';

export type FollowMode = 'wait' | 'stream';

/** Exit codes by fate. @source `az ml job stream`: 0 on Canceled; ours for `wait`: 4 */
const canceledExit: Readonly<Record<FollowMode, number>> = { wait: 4, stream: 0 };

/**
 * Follows a job, as it was just now or by its name, and answers with the exit code of its fate; an interrupt detaches.
 * @throws JOB_NOT_FOUND
 */
export async function followCommand(
  context: CommandContext,
  begun: JobView | string,
  mode: FollowMode,
): Promise<number> {
  const interrupt = interruptible(context.host, () => undefined);
  const name = typeof begun === 'string' ? begun : begun.name;
  try {
    const job = await followed(context, begun, mode, interrupt.signal).catch((error: unknown) => {
      if (interrupt.signal.aborted) return null;
      throw error;
    });
    if (job) return tellFate(context, job, mode, await errorsOf(context, job, mode));
    context.output.note(`detached; the job goes on. Come back with: batchmill job ${mode} ${name}`);
    return exitInterrupted;
  } finally {
    interrupt.dispose();
  }
}

/** The job at its end; null when it was left before. */
async function followed(
  context: CommandContext,
  begun: JobView | string,
  mode: FollowMode,
  signal: AbortSignal,
): Promise<JobView | null> {
  const { host, output } = context;
  const client = await context.client(signal);
  // `last` may mean another job later on.
  const job = typeof begun === 'string' ? await client.show(begun) : begun;
  const show = progressTeller(context);
  if (mode === 'stream') await tellWhere(context, job);
  return await followJob({
    ...{ client, job, signal, delay: host.delay },
    onEvent: (event) => {
      if (mode === 'stream' && event.kind !== 'progress') output.event(event, eventColumns, eventText(event));
      show(event);
    },
    onBreak: (error) => output.note(`connection lost, trying again: ${error.message}`),
  });
}

/** Keeps the progress line at what the latest event says. */
export function progressTeller({ host, output }: CommandContext): (event: JobEvent) => void {
  const pace = createPace(host.clock);
  return ({ job }) => output.progress(progressText(job, pace(job.files.scored + job.files.failed)));
}

/** As `az ml job stream` begins; on stderr, as stdout is for the events alone. */
async function tellWhere({ output, transport }: CommandContext, job: JobView): Promise<void> {
  output.note(`RunId: ${job.name}`);
  output.note(`Web View: ${webPage((await transport()).origin, job)}`);
}

/** Kinds of errors that are told in full at the end of `job stream`. */
const groupsTold = 3;

/** What `job errors` would tell first; null when there is nothing, or nobody can tell any more. */
async function errorsOf({ client }: CommandContext, job: JobView, mode: FollowMode): Promise<JobErrorsView | null> {
  const hasErrors = job.status === 'Failed' || (mode === 'stream' && job.files.failed > 0);
  if (!hasErrors) return null;
  return await (await client()).errors(job.name, 0, mode === 'stream' ? groupsTold : 1).catch((error: unknown) => {
    if (error instanceof BatchError) return null;
    throw error;
  });
}

/** Says how the job ended; `wait` answers with the job, `stream` has said it all. */
export function tellFate(
  { output }: CommandContext,
  job: JobView,
  mode: FollowMode,
  errors: JobErrorsView | null,
): number {
  if (mode === 'wait') output.item(job, jobSheet);
  else output.note(`\nExecution summary\n${formatSheet(job, summarySheet)}`);
  if (mode === 'stream' && errors && job.status !== 'Failed') output.note(errorsText(errors));
  output.note(fateText(job));
  if (job.status === 'Completed') return 0;
  if (job.status === 'Canceled') return canceledExit[mode];
  if (errors) output.note(errorsText(errors));
  // Its detail has been told as a traceback.
  if (job.error) output.failure(BatchError.fromFailure(errors ? { ...job.error, detail: '' } : job.error));
  return 1;
}
