/** The words of what operators set up and look into: `schedule`, `explain`, `why`, `doctor`. */
import { Option, type Command } from 'commander';
import type { DoctorFlags } from './commands/doctor.ts';
import type { ScheduleFlags } from './commands/schedule.ts';
import { collect, nameHelp, placeFor, withPaths, withServer, type AnswerFlags, type Perform } from './program-parts.ts';

export function addOperate(program: Command, perform: Perform): void {
  addSchedule(program, perform);
  const jobs = program.commands.find((command) => command.name() === 'job');
  for (const group of jobs ? [program, jobs] : [program]) {
    addExplain(group, perform);
    addWhy(group, perform);
  }
  addDoctor(program, perform);
}

function addDoctor(program: Command, perform: Perform): void {
  withServer(
    program.command('doctor').description('look for what is amiss here, on the coordinator and on worker nodes'),
  )
    .option('--path <path>', 'absolute path that all machines should see alike; may be given several times', collect)
    .action(async (flags: AnswerFlags & DoctorFlags) => {
      await perform(flags, async (context) => (await import('./commands/doctor.ts')).doctorCommand(context, flags));
    });
}

function addExplain(group: Command, perform: Perform): void {
  withServer(group.command('explain').description('say why a job waits, what runs of it, and what became of a file'))
    .argument('<job>', nameHelp)
    .argument('[file]', 'path of an input file')
    .action(async (name: string, file: string | undefined, flags: AnswerFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/explain.ts')).explainCommand(context, name, file),
      );
    });
}

function addWhy(group: Command, perform: Perform): void {
  withServer(
    group.command('why').description('say where a row of an output comes from: file, attempt, node, what was printed'),
  )
    .argument('<output:row>', 'an output folder, a file in it, or a job, and a row of it from 0: out/scans:1234')
    .action(async (asked: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await import('./commands/why.ts')).whyCommand(context, asked));
    });
}

function addSchedule(program: Command, perform: Perform): void {
  const group = program.command('schedule').description('endpoints that are invoked when a cron expression says so');
  withPaths(withServer(group.command('create').description('create a schedule, or change one')))
    .argument('<name>', 'name; it begins the names of its jobs')
    .requiredOption('--cron <expression>', 'five fields such as "0 3 * * *", or @hourly, @daily, …')
    .option('--time-zone <zone>', 'such as Europe/Berlin', 'UTC')
    .requiredOption('--endpoint <endpoint>', 'endpoint to invoke')
    .option('--deployment <deployment>', "deployment of it (default: the endpoint's)")
    .requiredOption(
      '--input <path>',
      'folder or file to score: a path, s3://…, azureml:NAME@latest, …',
      placeFor('--input'),
    )
    .option(
      '--output-path <path>',
      'folder for the results, with --overwrite (default: one for each job)',
      placeFor('--output-path'),
    )
    .option('--overwrite', 'replace the results of the run before')
    .option('--priority <number>', 'from -100 to 100; a higher one goes first', '0')
    .option('--compute <name>', 'named set of worker nodes')
    .option('--require <key=value>', 'only worker nodes with this label, such as gpu=a100; may be repeated', collect)
    .addOption(
      new Option('--missed <what>', 'runs that were due while nobody was there').choices(['skip', 'once', 'all']),
    )
    .action(async (name: string, flags: AnswerFlags & ScheduleFlags) => {
      await perform(flags, async (context) =>
        (await import('./commands/schedule.ts')).createSchedule(context, name, flags),
      );
    });
  withServer(group.command('list').description('list schedules, with when they are due next')).action(
    async (flags: AnswerFlags) => {
      await perform(flags, async (context) => (await import('./commands/schedule.ts')).listSchedules(context));
    },
  );
  const verbs = {
    show: 'show one schedule',
    pause: 'begin no more runs',
    resume: 'go on; what was due meanwhile is not missed',
    delete: 'forget a schedule; its jobs stay',
  } as const;
  for (const verb of ['show', 'pause', 'resume', 'delete'] as const) {
    withServer(group.command(verb).description(verbs[verb]))
      .argument('<name>', 'name of the schedule')
      .action(async (name: string, flags: AnswerFlags) => {
        await perform(flags, async (context) =>
          (await import('./commands/schedule.ts')).scheduleCommands[verb](context, name),
        );
      });
  }
}
