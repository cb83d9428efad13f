/** The words of `batch-endpoint` and `batch-deployment`, under the names that Azure's command line has for them. */
import { Option, type Command } from 'commander';
import type { DeploymentCreateFlags, DeploymentFlags } from './commands/deployment.ts';
import type { EndpointFlags } from './commands/endpoint.ts';
import type { InvokeFlags } from './commands/invoke.ts';
import {
  collect,
  placeFor,
  withChange,
  withDelete,
  withFile,
  withPaths,
  withServer,
  type AnswerFlags,
  type Perform,
} from './program-parts.ts';

const loadEndpoint = () => import('./commands/endpoint.ts');
const loadDeployment = () => import('./commands/deployment.ts');

type Body<F> = (flags: AnswerFlags & F) => Promise<void>;

export function addEndpoints(program: Command, perform: Perform): void {
  const endpoints = program
    .command('batch-endpoint')
    .alias('endpoint')
    .description('endpoints: stable names that are invoked');
  addEndpointVerbs(endpoints, perform);
  addInvoke(endpoints, perform);
  const deployments = program
    .command('batch-deployment')
    .alias('deployment')
    .description('deployments under endpoints: a model, what scores with it, and settings');
  addDeploymentVerbs(deployments, perform);
}

const endpointHelp = 'name of the endpoint';

function withEndpoint(command: Command): Command {
  return withServer(command.option('-n, --name <name>', endpointHelp));
}

function addEndpointVerbs(endpoints: Command, perform: Perform): void {
  const act =
    (verb: 'create' | 'show' | 'update' | 'delete' | 'jobs'): Body<EndpointFlags> =>
    async (flags) =>
      await perform(flags, async (context) => (await loadEndpoint()).endpointCommands[verb](context, flags));
  withFile(withEndpoint(endpoints.command('create').description('create an endpoint, or put it as it is said'))).action(
    act('create'),
  );
  withEndpoint(endpoints.command('show').description('show one endpoint')).action(act('show'));
  withServer(endpoints.command('list').description('list endpoints')).action(async (flags: AnswerFlags) => {
    await perform(flags, async (context) => (await loadEndpoint()).listEndpoints(context));
  });
  withChange(withEndpoint(endpoints.command('update').description('change an endpoint')))
    .option('--defaults <deployment>', 'deployment that serves an invocation that names none', collect)
    .action(act('update'));
  withDelete(
    withEndpoint(endpoints.command('delete').description('delete an endpoint and its deployments; its jobs stay')),
  )
    .option('--force', 'also when jobs of it run')
    .action(act('delete'));
  withEndpoint(endpoints.command('list-jobs').description('list the jobs of an endpoint, newest first')).action(
    act('jobs'),
  );
}

function addInvoke(endpoints: Command, perform: Perform): void {
  withPaths(withServer(endpoints.command('invoke').description('score an input: starts a job and answers with it')))
    .option('-n, --name <name>', endpointHelp)
    .option('-d, --deployment-name <name>', 'deployment that serves it (default: that of the endpoint)')
    .option(
      '--input <path>',
      'folder, file, s3://…, azureml:NAME:VERSION, azureml://datastores/NAME/paths/…',
      placeFor('--input'),
    )
    .addOption(new Option('--input-type <type>', 'what the input is').choices(['uri_folder', 'uri_file']))
    .option('-f, --file <yaml>', 'inputs and outputs from a file')
    .option('--set <key=value>', 'override anything for this job: --set mini_batch_size=20 error_threshold=5', collect)
    .option('--output-path <dir>', 'folder for the results (default: one of the job’s own)', placeFor('--output-path'))
    .option('-m, --mini-batch-size <size>', 'files (20), bytes (64MB) or auto')
    .option('-c, --instance-count <count>', 'worker nodes at most')
    .option('--job-name <name>', 'name of the job')
    .option('--experiment-name <name>', 'what its jobs are grouped by (default: the endpoint)')
    .option('--include <glob>', 'score only files that match; may be repeated', collect)
    .option('--exclude <glob>', 'leave out files and folders that match; may be repeated', collect)
    .option('--input-list <file>', 'score the files that it names, in its order')
    .option('--input-list-column <name>', 'where the paths stand in a list that is no text (default: path)')
    .option('--overwrite', 'replace results that are already there')
    .option('--since <job>', 'score only what is new or changed; take the other rows from this earlier job')
    .option('--shadow <name>', 'another deployment that scores the same files; its rows are compared, not written')
    .option('--shadow-tolerance <number>', 'numbers of both that are so close are the same (default: 0)')
    .option('--priority <number>', 'from -100 to 100; a higher one goes first')
    .option('--compute <name>', 'named set of worker nodes')
    .option('--require <key=value>', 'only worker nodes with this label, such as gpu=a100; may be repeated', collect)
    .option('--idempotency-key <key>', 'sent again with the same key, the same job answers')
    .option('--wait', 'wait for its end')
    .addOption(new Option('--stream', 'show how it goes until its end').conflicts('wait'))
    .addOption(new Option('--input-data <reference>', 'older name of --input').hideHelp())
    .addOption(new Option('--input-path <path>', 'older form of --input: folder:… or file:…').hideHelp())
    .addOption(new Option('--input-local-path <path>', 'older form of --input').hideHelp())
    .action(async (flags: AnswerFlags & InvokeFlags) => {
      await perform(flags, async (context) => (await import('./commands/invoke.ts')).invokeCommand(context, flags));
    });
}

function withDeployment(command: Command): Command {
  return withServer(
    command
      .option('-n, --name <name>', 'name of the deployment')
      .option('-e, --endpoint-name <name>', 'endpoint that it is under'),
  );
}

function addDeploymentVerbs(deployments: Command, perform: Perform): void {
  const act =
    (verb: 'show' | 'list' | 'delete' | 'jobs'): Body<DeploymentFlags> =>
    async (flags) =>
      await perform(flags, async (context) => (await loadDeployment()).deploymentCommands[verb](context, flags));
  const put =
    (verb: 'create' | 'update'): Body<DeploymentCreateFlags> =>
    async (flags) =>
      await perform(flags, async (context) => (await loadDeployment()).deploymentPuts[verb](context, flags));
  withPaths(
    withFile(withDeployment(deployments.command('create').description('create a deployment, or a new revision of it'))),
  )
    .option('--set-default', 'it serves invocations that name none, from when it is there')
    .option('--skip-script-validation', 'do not parse the Python script before it is sent')
    .action(put('create'));
  withDeployment(deployments.command('show').description('show one deployment')).action(act('show'));
  withServer(deployments.command('list').description('list the deployments of an endpoint'))
    .option('-e, --endpoint-name <name>', 'endpoint that they are under')
    .action(act('list'));
  withChange(withDeployment(deployments.command('update').description('change a deployment: makes a new revision')))
    .option('--skip-script-validation', 'do not parse the Python script before it is sent')
    .action(put('update'));
  withDelete(withDeployment(deployments.command('delete').description('delete a deployment; its jobs stay')))
    .option('--force', 'also when jobs of it run')
    .action(act('delete'));
  withDeployment(deployments.command('list-jobs').description('list the jobs of a deployment, newest first')).action(
    act('jobs'),
  );
}
