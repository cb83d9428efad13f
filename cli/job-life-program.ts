/** The words of `job cancel`, `pause`, `resume`, `retry` and `prune`. */
import type { Command } from 'commander';
import type { DiffFlags } from './commands/job-diff.ts';
import type { CancelFlags, PruneFlags, ReopenFlags } from './commands/job-life.ts';
import { addNamed, collect, withPaths, withServer, type AnswerFlags, type Perform } from './program-parts.ts';

const load = () => import('./commands/job-life.ts');

export function addJobLife(jobs: Command, perform: Perform): void {
  addNamed<CancelFlags>(
    withServer(jobs.command('cancel').description('end a job; what runs may end first, what is committed stays'))
      .option('--grace <seconds>', 'how long what runs may go on before it is killed (default: 30)')
      .option('--force', 'kill what runs at once, as a second cancel does'),
    perform,
    async (context, name, flags) => (await load()).cancelCommand(context, name, flags),
  );
  addNamed(
    withServer(jobs.command('pause').description('hand out no more work of a job; what runs goes on')),
    perform,
    async (context, name) => (await load()).pauseCommand(context, name),
  );
  addNamed<ReopenFlags>(
    withReopenFlags(jobs.command('resume').description('go on with a job that is paused, failed or was canceled')),
    perform,
    async (context, name, flags) => (await load()).resumeCommand(context, name, flags),
  );
  addNamed<ReopenFlags>(
    withReopenFlags(
      jobs.command('retry').description('score files again that have failed, and put their rows in place'),
    ).option('--failed-only', 'only the files that have failed'),
    perform,
    async (context, name, flags) => (await load()).retryCommand(context, name, flags),
  );
  addPrune(jobs, perform);
  addDiff(jobs, perform);
}

function withReopenFlags(command: Command): Command {
  return withPaths(withServer(command))
    .option('--deployment <path>', 'score with this deployment from now on')
    .option('--set <key=value>', 'override any key of that YAML', collect)
    .option('--mini-batch-size <size>', 'files (20), bytes (64MB) or auto, for what is not committed')
    .option('--timeout <seconds>', 'of one run()')
    .option('--max-retries <count>', 'tries of a file')
    .option('--error-threshold <count>', 'failed files that the job may have; -1: any number')
    .option('--instance-count <count>', 'worker nodes at most')
    .option('--slots-per-node <count>', 'scoring processes of each node at most')
    .option('--wait', 'wait for its end')
    .option('--stream', 'show its events until its end');
}

function addPrune(jobs: Command, perform: Perform): void {
  withServer(
    jobs.command('prune').description('forget jobs that have ended; their results stay unless --output'),
    '--answer',
  )
    .argument('[names...]', 'names of jobs')
    .option('--older-than <time>', 'those that ended longer ago, such as 30d, 12h or 90m')
    .option('--state <state>', 'those that ended so: Completed, Failed or Canceled', collect)
    .option('--all', 'every job that has ended')
    .option('--dry-run', 'only say which they are')
    .option('--output', 'remove their results and logs as well')
    .action(async (names: readonly string[], flags: AnswerFlags & PruneFlags) => {
      await perform(flags, async (context) => (await load()).pruneCommand(context, names, flags));
    });
}

function addDiff(jobs: Command, perform: Perform): void {
  withServer(jobs.command('diff').description('lay two outputs of one input beside each other, row by row'))
    .argument('<a>', 'a job, or an output folder')
    .argument('<b>', 'the other one')
    .option('--tolerance <number>', 'numbers that are so close are the same, such as 1e-6 (default: 0)')
    .option('--examples <count>', 'differences to show (default: 20)')
    .option('--min-agreement <part>', 'end with exit code 1 when a smaller part of the rows is the same, such as 0.99')
    .action(async (a: string, b: string, flags: AnswerFlags & DiffFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/job-diff.ts')).diffCommand(context, a, b, flags),
      );
    });
}
