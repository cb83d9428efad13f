/** The words of what deployments and jobs refer to: `model`, `data`, `environment`, `datastore`, `compute`. */
import type { Command } from 'commander';
import type { AssetFlags, AssetKindName } from './commands/assets.ts';
import type { ComputeFlags, DatastoreFlags, NamedFlags } from './commands/computes.ts';
import {
  collect,
  withDelete,
  withFile,
  withPaths,
  withServer,
  type AnswerFlags,
  type Perform,
} from './program-parts.ts';

const assets: Readonly<Record<AssetKindName, string>> = {
  model: 'models that deployments name as azureml:NAME:VERSION',
  data: 'inputs that invocations name as azureml:NAME:VERSION',
  environment: 'environments that deployments name as azureml:NAME:VERSION',
};

export function addRegistry(program: Command, perform: Perform): void {
  for (const kind of ['model', 'data', 'environment'] as const) {
    addAsset(program.command(kind).description(assets[kind]), perform, kind);
  }
  addDatastore(program, perform);
  addCompute(program, perform);
}

function withAsset(command: Command): Command {
  return withServer(
    command
      .option('-n, --name <name>', 'name')
      .option('-v, --version <version>', 'version')
      .option('-l, --label <label>', '"latest": the version that was created last'),
  );
}

function addAsset(group: Command, perform: Perform, kind: AssetKindName): void {
  const act =
    (verb: 'create' | 'show' | 'list' | 'delete') =>
    async (flags: AnswerFlags & AssetFlags): Promise<void> =>
      await perform(flags, async (context) =>
        (await import('./commands/assets.ts')).assetCommands[verb](context, kind, flags),
      );
  const create = withFile(withServer(group.command('create').description(`register a version`)))
    .option('-n, --name <name>', 'name')
    .option('-v, --version <version>', 'version (default: the next number)')
    .option('--description <text>', 'words for people')
    .option('--tag <key=value>', 'names and values for people; may be repeated', collect);
  const typed = kind === 'environment' ? create : withPaths(create.option('-t, --type <type>', typeHelp[kind]));
  (kind === 'environment'
    ? typed.option('--image <image>', 'container image').option('-c, --conda-file <file>', 'conda file')
    : typed.option(
        '-p, --path <path>',
        kind === 'model' ? 'file or folder' : 'file, folder, s3://…, azureml://datastores/…',
      )
  ).action(act('create'));
  withAsset(group.command('show').description('show one version')).action(act('show'));
  withServer(group.command('list').description('list the latest of each name, or all versions of one'))
    .option('-n, --name <name>', 'all versions of this one, newest first')
    .option('-r, --max-results <count>', 'how many at most')
    .action(act('list'));
  withDelete(withAsset(group.command('delete').description('delete one version'))).action(act('delete'));
}

const typeHelp: Readonly<Record<'model' | 'data', string>> = {
  model: 'custom_model (default) or mlflow_model',
  data: 'uri_folder (default) or uri_file',
};

function withName(command: Command): Command {
  return withServer(command.option('-n, --name <name>', 'name'));
}

type Verb = 'show' | 'list' | 'delete';

function addNamedVerbs(group: Command, perform: Perform, kind: 'datastores' | 'computes'): void {
  const act =
    (verb: Verb) =>
    async (flags: AnswerFlags & NamedFlags): Promise<void> =>
      await perform(flags, async (context) =>
        (await import('./commands/computes.ts')).namedCommands[verb](context, kind, flags),
      );
  withName(group.command('show').description('show one')).action(act('show'));
  withServer(group.command('list').description('list all')).action(act('list'));
  withDelete(withName(group.command('delete').description('delete one'))).action(act('delete'));
}

function addDatastore(program: Command, perform: Perform): void {
  const group = program.command('datastore').description('names of places: azureml://datastores/NAME/paths/…');
  withName(group.command('create').description('give a place a name'))
    .option('--location <location>', 'folder on the coordinator’s machine, s3://…, gs://…, az://…, https://…')
    .option('--description <text>', 'words for people')
    .action(async (flags: AnswerFlags & DatastoreFlags) => {
      await perform(flags, async (context) => (await import('./commands/computes.ts')).createDatastore(context, flags));
    });
  addNamedVerbs(group, perform, 'datastores');
}

function addCompute(program: Command, perform: Perform): void {
  const group = program.command('compute').description('named sets of worker nodes');
  withFile(withName(group.command('create').description('create one, or put it as it is said')))
    .option('-t, --type <type>', 'amlcompute or slurm')
    .option('--min-instances <count>', 'worker nodes that stay')
    .option('--max-instances <count>', 'worker nodes at most')
    .option('--idle-time-before-scale-down <seconds>', 'seconds without work until a node goes')
    .option('--size <size>', 'kept for people')
    .option('--tier <tier>', 'dedicated or low_priority; kept for people')
    .option('--slurm-option <option>', 'of sbatch, such as --slurm-option=--partition=gpu; may be repeated', collect)
    .option('--label <key=value>', 'its nodes are those with this label; may be repeated', collect)
    .option('--description <text>', 'words for people')
    .action(async (flags: AnswerFlags & ComputeFlags) => {
      await perform(flags, async (context) => (await import('./commands/computes.ts')).createCompute(context, flags));
    });
  addNamedVerbs(group, perform, 'computes');
}
