/**
 * The command line in words: names, arguments, flags. What a command does is loaded when it is called, so that
 * `--help` waits for nothing.
 */
import { Command, Option } from 'commander';
import { configKinds } from '../common/config/config-kind.ts';
import type { CoordinatorFlags, WorkerFlags } from '../common/config/process-settings.ts';
import { addAccess } from './access-program.ts';
import type { RepairFlags } from './commands/journal.ts';
import type { PlanFlags } from './commands/plan.ts';
import type { RunFlags } from './commands/run.ts';
import type { ValidateFlags } from './commands/validate.ts';
import { addAllocator } from './allocator-program.ts';
import { addCompletion } from './completion-program.ts';
import { addContexts } from './context-program.ts';
import { addEndpoints } from './endpoint-program.ts';
import { addJobs } from './job-program.ts';
import { addNodes } from './node-program.ts';
import { addOperate } from './operate-program.ts';
import { addRegistry } from './registry-program.ts';
import { collect, placeFor, withAnswer, withServer, type AnswerFlags, type Perform } from './program-parts.ts';

const exitCodes = `
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 canceled, 5 coordinator not reachable,
6 refused, 130 interrupted.

Answers go to stdout (a table on a terminal, JSON otherwise; -o chooses), all else to stderr.`;

export function buildProgram(release: string, perform: Perform): Command {
  const program = new Command('batchmill')
    .description('Scores folders of files with a model, on machines that you own.')
    .version(release, '-V, --version', 'print the release')
    // Behind the name of a command its own --version is meant, where it has one.
    .enablePositionalOptions()
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', exitCodes);
  addRun(program, perform);
  addCoordinator(program, perform);
  addWorker(program, perform);
  addNodes(program, perform);
  addAllocator(program, perform);
  addJobs(program, perform, (command) => withInvocationFlags(command));
  addEndpoints(program, perform);
  addRegistry(program, perform);
  addContexts(program, perform);
  addCompletion(program, perform);
  addValidate(program, perform);
  addJournal(program, perform);
  addOperate(program, perform);
  addAccess(program, perform);
  return program;
}

const deploymentHelp =
  'a deployment.yml, an .onnx file (or a folder with one), an MLflow model folder, or a scoring script (.py, .ts, .js, .mjs)';

function withDeploymentFlags(command: Command): Command {
  return withFileFlags(command.argument('<deployment>', deploymentHelp));
}

function withFileFlags(command: Command): Command {
  return command
    .option('--mini-batch-size <size>', 'files (20), bytes (64MB) or auto')
    .option('--split-files <how>', 'large tables in parts: auto, off, or the size of a part (16MB)')
    .option('--format <format>', 'of the output: azure, csv, jsonl, arrow, arrow_file or parquet')
    .option('--set <key=value>', 'override any key of the YAML: --set settings.error_threshold=5', collect)
    .option('--scale <number>', 'built-in ONNX scorer: multiply pixels by this')
    .option('--model <path>', 'model file or folder for the deployment')
    .option(
      '--environment <host|path>',
      'Python to use instead of environment: an interpreter or a virtual environment',
    )
    .option('--skip-script-validation', 'do not parse the Python script before it is sent');
}

function withInputFlags(command: Command): Command {
  return withDeploymentFlags(command)
    .requiredOption(
      '--input <path>',
      'folder of files to score, or one file; also s3://, gs://, az://, https://, …',
      placeFor('--input'),
    )
    .addOption(
      new Option('--input-list <file>', 'score the files that it names (.txt, .csv, .jsonl, .parquet), in its order')
        .argParser(placeFor('--input-list'))
        // What `--input` is when only a list is given: the folder that it lies in.
        .implies({ input: '' }),
    )
    .option('--input-list-column <name>', 'where the paths stand in a list that is no text (default: path)')
    .option('--include <glob>', 'score only files that match, such as "*.jpg" or "raw/**"; may be repeated', collect)
    .option('--exclude <glob>', 'leave out files and folders that match; may be repeated', collect);
}

function withInvocationFlags(command: Command): Command {
  return withInputFlags(command)
    .requiredOption('--output <dir>', 'folder for the results', placeFor('--output'))
    .option('--overwrite', 'replace results that are already there')
    .option('--since <job|dir>', 'score only what is new or changed; take the other rows from this earlier output');
}

function withNodeFlags(command: Command): Command {
  return withAnswer(command, '--answer')
    .option('--nodes <count>', 'worker nodes to start', '1')
    .option('--slots <count>', 'scoring processes of each node (default: as many as processors)')
    .option('--python <path>', 'interpreter for Python scripts (default: python3)');
}

const sampleHelp = 'score so many files and say what all would take: seconds, memory, output; nothing is kept';

interface DryFlags {
  readonly dryRun?: boolean;
  readonly sample?: string;
}

function addRun(program: Command, perform: Perform): void {
  withNodeFlags(
    withInvocationFlags(program.command('run').description('score a folder on this machine, without a cluster')),
  )
    .option('--dry-run', 'only say what it would come to, as `plan` does')
    .option('--sample <count>', sampleHelp)
    .action(async (path: string, flags: AnswerFlags & RunFlags & DryFlags) => {
      await perform(flags, async (context) =>
        flags.dryRun
          ? await (await import('./commands/plan.ts')).planCommand(context, path, flags)
          : await (await import('./commands/run.ts')).runCommand(context, path, flags),
      );
    });
  withNodeFlags(withInputFlags(program.command('plan').description('say what scoring an input would come to')))
    .option('--output <dir>', 'as for run; nothing is written', placeFor('--output'))
    .option('--overwrite', 'as for run; nothing is written')
    .option('--since <job|dir>', 'as for run; all files are counted')
    .option('--sample <count>', sampleHelp)
    .action(async (path: string, flags: AnswerFlags & PlanFlags) => {
      await perform(flags, async (context) => (await import('./commands/plan.ts')).planCommand(context, path, flags));
    });
}

function addCoordinator(program: Command, perform: Perform): void {
  const group = program.command('coordinator').description('the process that owns jobs and hands out work');
  addCoordinatorKey(group, perform);
  withServer(group.command('handover').description('let a standby lead; worker nodes score on')).action(
    async (flags: AnswerFlags) => {
      await perform(flags, async (context) => (await import('./commands/handover.ts')).handOverCommand(context));
    },
  );
  withAnswer(group.command('start').description('start the coordinator; it runs until Ctrl-C'))
    .option('--listen <host:port>', 'address for worker nodes (default: 127.0.0.1:7077)')
    .option('--http <host:port>', 'address for people and programs (default: 127.0.0.1:7078)')
    .option('--state-dir <dir>', 'where jobs are kept (default: .batchmill)')
    .option('--insecure', 'serve without TLS and tokens: whoever reaches the ports may do everything')
    .option('--join-token-ttl <time>', 'how long the printed line to join with may be used (default: 24h)')
    .option('--keep-finished-jobs <time>', 'prune jobs that ended longer ago, such as 30d (default: always kept)')
    .option('--heartbeat-interval <time>', 'how often worker nodes report, such as 5s (default: by their number)')
    .option('--staging-bytes <size>', 'results that may wait for their turn on its disk (default: 64GB)')
    .option('--journal <nats://host:port/name>', 'keep the journal on NATS as well, where it outlives this disk')
    .option('--accept-lossy-journal', 'take NATS servers that may lose what they have acknowledged')
    .option('--standby', 'one of several coordinators, of which one leads; needs --journal and --local-dir')
    .option('--local-dir <dir>', 'its own copy of the journal, when --state-dir is shared with other coordinators')
    .action(async (flags: AnswerFlags & CoordinatorFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/start.ts')).startCoordinatorCommand(context, flags),
      );
    });
}

function addCoordinatorKey(group: Command, perform: Perform): void {
  withAnswer(group.command('key').description('print the public key with which the coordinator signs manifests'))
    .option('--state-dir <dir>', 'where the coordinator keeps its jobs (default: .batchmill)')
    .action(async (flags: AnswerFlags & CoordinatorFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/coordinator-key.ts')).coordinatorKeyCommand(context, flags),
      );
    });
}

function addWorker(program: Command, perform: Perform): void {
  const workers = program.command('worker').description('a machine that scores');
  workers
    .command('join')
    .description('join a coordinator; it runs until Ctrl-C')
    .argument(
      '<host:port>',
      'address that the coordinator gave with --listen; with standbys all of them: A:7077,B:7077',
    )
    .option('--token <token>', 'join token that the coordinator printed (better: BATCHMILL_TOKEN)')
    .option(
      '--ca-fingerprint <sha256>',
      'of the coordinator’s authority, as it printed it (or BATCHMILL_CA_FINGERPRINT)',
    )
    .option('--insecure', 'join a coordinator that was started with --insecure')
    .option('--slots <count>', 'scoring processes at a time (default: as many as processors)')
    .option('--label <key=value>', 'what computes choose nodes by, such as gpu=a100; may be repeated', collect)
    .option('--name <name>', 'name of this worker node (default: the host name)')
    .option('--python <path>', 'interpreter for Python scripts (default: python3)')
    .option('--scratch-dir <dir>', 'folder for models and prefetched inputs')
    .option('--until <time>', 'leave in time for it: 50m, or 2026-11-22T15:00:00Z (default: the end of the Slurm job)')
    .option('--spool-bytes <size>', 'results that may wait for the coordinator (default: 2GB)')
    .option('--cache-bytes <size>', 'models and code kept for later jobs (default: 100GB)')
    .option('--no-peers', 'fetch models and code from the coordinator alone, and open no port for other worker nodes')
    .action(async (address: string, flags: WorkerFlags) => {
      await perform({}, async (context) =>
        (await import('./commands/start.ts')).joinWorkerCommand(context, address, flags),
      );
    });
}

function addJournal(program: Command, perform: Perform): void {
  const group = program.command('journal').description('the journal of a coordinator that does not run');
  const stateDir = 'state directory of the coordinator (its --state-dir)';
  withAnswer(group.command('verify').description('say what stands in it, and where it is damaged'))
    .argument('<dir>', `${stateDir}, or its --journal: nats://…`)
    .action(async (dir: string, flags: AnswerFlags) => {
      await perform(flags, async (context) =>
        dir.startsWith('nats://')
          ? await (await import('./commands/journal-stream.ts')).verifyStreamCommand(context, dir)
          : await (await import('./commands/journal.ts')).verifyJournalCommand(context, dir),
      );
    });
  withAnswer(group.command('repair').description('cut it at its damage; says first which records and jobs lose by it'))
    .argument('<dir>', stateDir)
    .option('--yes', 'do it; what is cut off is kept beside it')
    .action(async (dir: string, flags: AnswerFlags & RepairFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/journal.ts')).repairJournalCommand(context, dir, flags),
      );
    });
  group
    .command('export')
    .description('print its records as JSON Lines')
    .argument('<dir>', stateDir)
    .action(async (dir: string) => {
      await perform({}, async (context) => (await import('./commands/journal.ts')).exportJournalCommand(context, dir));
    });
}

function addValidate(program: Command, perform: Perform): void {
  const validate = program.command('validate').description('check a YAML of any kind without scoring');
  withAnswer(withFileFlags(validate.argument('<file>', `${deploymentHelp}, or the YAML of another kind`)))
    .addOption(new Option('--type <kind>', 'kind of the YAML, when its keys do not tell').choices(configKinds))
    .action(async (path: string, flags: AnswerFlags & ValidateFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/validate.ts')).validateCommand(context, path, flags),
      );
    });
}
