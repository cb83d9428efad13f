/** The words of `job …`. Every verb that is about one job takes its name as an argument, or as Azure's `--name`. */
import { Option, type Command } from 'commander';
import { addJobLife } from './job-life-program.ts';
import type { DownloadFlags } from './commands/job-download.ts';
import type { ErrorsFlags } from './commands/job-errors.ts';
import type { LabelFlags } from './commands/job-labels.ts';
import type { LogsFlags } from './commands/job-logs.ts';
import type { TailFlags } from './commands/job-tail.ts';
import type { VerifyFlags } from './commands/job-verify.ts';
import type { JobListFlags, ShowFlags, SubmitFlags } from './commands/job.ts';
import {
  addNamed,
  collect,
  placeFor,
  withAnswer,
  withPaths,
  withServer,
  type AnswerFlags,
  type Perform,
} from './program-parts.ts';

export function addJobs(program: Command, perform: Perform, withInvocation: (command: Command) => Command): void {
  const jobs = program.command('job').description('jobs of a coordinator; "last" names the newest');
  withPaths(withServer(withInvocation(jobs.command('submit').description('send a job to the coordinator')), '--answer'))
    .option('--name <name>', 'name of the job (default: made from the deployment and the time)')
    .option('--priority <number>', 'from -100 to 100; a higher one goes first')
    .option('--compute <name>', 'named set of worker nodes')
    .option('--require <key=value>', 'only worker nodes with this label, such as gpu=a100; may be repeated', collect)
    .option('--wait', 'wait for its end')
    .addOption(new Option('--stream', 'show its events until its end').conflicts('wait'))
    .action(async (path: string, flags: AnswerFlags & SubmitFlags) => {
      await perform(flags, async (context) => (await import('./commands/job.ts')).submitCommand(context, path, flags));
    });
  addList(jobs, perform);
  addOne(jobs, perform);
  addDownload(jobs, perform);
  addLogs(jobs, perform);
  addJobLife(jobs, perform);
  addLabels(jobs, perform);
  addOutput(jobs, perform);
}

function addList(jobs: Command, perform: Perform): void {
  withServer(jobs.command('list').description('list jobs, newest first'))
    .option('-r, --max-results <count>', 'how many at most (default: 50)')
    .option('--all-results', 'all there are')
    .option('--endpoint <name>', 'of this endpoint only')
    .option('--deployment <name>', 'of this deployment only')
    .option('--status <status>', 'in this state only: Queued, Running, Completed, …')
    .option('--archived-only', 'those that were archived')
    .option('--include-archived', 'those as well')
    .option('-p, --parent-job-name <name>', 'the children of a job, as scripts of Azure ask: here it is its own')
    .action(async (flags: AnswerFlags & JobListFlags) => {
      await perform(flags, async (context) => await (await import('./commands/job.ts')).listCommand(context, flags));
    });
}

function addOne(jobs: Command, perform: Perform): void {
  addNamed<ShowFlags>(
    withServer(jobs.command('show').description('show one job')).option('--web', 'open its page in a browser as well'),
    perform,
    async (context, name, flags) => (await import('./commands/job.ts')).showCommand(context, name, flags),
  );
  addNamed(
    withServer(jobs.command('stream').description('show how a job goes until it ends; Ctrl-C detaches')),
    perform,
    async (context, name) => (await import('./commands/job-follow.ts')).followCommand(context, name, 'stream'),
  );
  addNamed(
    withServer(jobs.command('wait').description('wait until the job ends; its fate is the exit code')),
    perform,
    async (context, name) => (await import('./commands/job-follow.ts')).followCommand(context, name, 'wait'),
  );
}

function addDownload(jobs: Command, perform: Perform): void {
  addNamed<DownloadFlags>(
    withServer(jobs.command('download').description('fetch the results of a job that has ended'), '--answer')
      .option('--output <dir>', 'folder for the files, as they lie in the output folder', placeFor('--output'))
      .option('-p, --download-path <dir>', 'folder under which they lie as named-outputs/score/… (default: this one)')
      .option('--output-name <name>', 'of the outputs this one; a job has one, score')
      .option('--overwrite', 'replace files that are already there')
      .option('--logs', 'the logs as well, into the folder _logs, or logs under --download-path')
      .option('--all', 'everything: results and logs'),
    perform,
    async (context, name, flags) => (await import('./commands/job-download.ts')).downloadCommand(context, name, flags),
  );
}

function addLogs(jobs: Command, perform: Perform): void {
  addNamed<LogsFlags>(
    withServer(jobs.command('logs').description('show what the scoring processes of a job printed'))
      .option('--node <node>', 'of this worker node only')
      .option('--process <number>', 'of this scoring process only')
      .addOption(new Option('--stream <stream>', 'of this stream only').choices(['stdout', 'stderr', 'error']))
      .option('--file <path>', 'what was printed while this file of the input was scored')
      .option('--mini-batch <first>', 'the same of the mini-batch that has the file with this number, from 0')
      .option('--follow', 'go on with what comes until the job ends')
      .option('--list', 'names and sizes of all logs'),
    perform,
    async (context, name, flags) => (await import('./commands/job-logs.ts')).logsCommand(context, name, flags),
  );
  addNamed<ErrorsFlags>(
    withServer(jobs.command('errors').description('show why files failed, the same errors counted together')).option(
      '--all',
      'every kind of error, not only the most frequent',
    ),
    perform,
    async (context, name, flags) => (await import('./commands/job-errors.ts')).errorsCommand(context, name, flags),
  );
}

function addLabels(jobs: Command, perform: Perform): void {
  addNamed(
    withServer(jobs.command('archive').description('leave a job out of `job list`')),
    perform,
    async (context, name) => (await import('./commands/job-labels.ts')).archiveCommand(context, name, true),
  );
  addNamed(
    withServer(jobs.command('restore').description('take a job that was archived into `job list` again')),
    perform,
    async (context, name) => (await import('./commands/job-labels.ts')).archiveCommand(context, name, false),
  );
  addNamed<LabelFlags>(
    withServer(jobs.command('update').description('change what is said of a job')).option(
      '--set <key=value>',
      'display_name, description, tags.KEY or properties.KEY',
      collect,
    ),
    perform,
    async (context, name, flags) => (await import('./commands/job-labels.ts')).updateJobCommand(context, name, flags),
  );
}

function addOutput(jobs: Command, perform: Perform): void {
  addNamed<TailFlags>(
    withServer(jobs.command('tail').description('print rows that are final, also while the job runs'))
      .option('--lines <number>', 'how many of the last lines, or "all"', '10')
      .option('--follow', 'go on with what comes until the job ends'),
    perform,
    async (context, name, flags) => (await import('./commands/job-tail.ts')).tailCommand(context, name, flags),
  );
  withAnswer(jobs.command('verify').description('prove an output folder against its manifest, without a coordinator'))
    .argument('<dir>', 'output folder of a job that has ended')
    .option(
      '--input <path>',
      'where the input lies now (default: where the manifest says, if it is there)',
      placeFor('--input'),
    )
    .option('--key <file>', 'public key that must have signed the manifest, as `coordinator key` prints it')
    .option('--json', 'the same as -o json')
    .action(async (dir: string, flags: AnswerFlags & VerifyFlags) => {
      await perform(flags.json ? { ...flags, answer: 'json' } : flags, async (context) =>
        (await import('./commands/job-verify.ts')).verifyCommand(context, dir, flags),
      );
    });
}
