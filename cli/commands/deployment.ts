/** `batch-deployment create`, `show`, `list`, `update`, `delete`, `list-jobs`. */
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { ConfigSource } from '../../common/config/config-source.ts';
import { withSettingsOf } from '../../common/config/deployment-resolve.ts';
import { pythonSetting } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import { assetsOf } from '../api/assets.ts';
import { deploymentPath, thingOf } from '../api/registry.ts';
import { listJobs } from '../api/jobs.ts';
import type { CommandContext } from '../command-context.ts';
import { applyEdits } from '../edit.ts';
import { jobColumns, scorerText } from '../job-text.ts';
import type { ChangeFlags, DeleteFlags, PathFlags } from '../program-parts.ts';
import { deploymentColumns, deploymentSheet } from '../thing-text.ts';
import { deploymentsOf, endpointOf } from './endpoint.ts';
import {
  editsOf,
  isSure,
  openThing,
  readThing,
  required,
  untilUnchanged,
  uploadsOf,
  sentDeployment,
} from './thing-parts.ts';

export interface DeploymentFlags extends DeleteFlags {
  readonly name?: string;
  readonly endpointName?: string;
}

export interface DeploymentCreateFlags extends DeploymentFlags, ChangeFlags, PathFlags {
  readonly setDefault?: boolean;
  readonly skipScriptValidation?: boolean;
}

type Act<F> = (context: CommandContext, flags: F) => Promise<number>;

interface Named {
  readonly endpoint: string;
  readonly name: string;
}

function named(flags: DeploymentFlags): Named {
  return {
    name: required(flags.name, '--name/-n'),
    endpoint: required(flags.endpointName, '--endpoint-name/-e'),
  };
}

/** Each answers with the exit code. */
export const deploymentCommands: Readonly<Record<'show' | 'list' | 'delete' | 'jobs', Act<DeploymentFlags>>> = {
  show: async ({ transport, output }, flags) => {
    const { endpoint, name } = named(flags);
    const api = await transport();
    output.item(thingOf(api, await api.ask('GET', deploymentPath(endpoint, name))), deploymentSheet);
    return 0;
  },
  list: async ({ transport, output }, flags) => {
    const endpoint = required(flags.endpointName, '--endpoint-name/-e');
    output.list(await deploymentsOf(await transport(), endpoint), deploymentColumns);
    return 0;
  },
  delete: async (context, flags) => {
    const { endpoint, name } = named(flags);
    const api = await context.transport();
    if (!flags.yes) await api.ask('GET', deploymentPath(endpoint, name));
    if (!(await isSure(context, `deployment ${name} of ${endpoint}`, flags))) return 1;
    await api.ask('DELETE', `${deploymentPath(endpoint, name)}${flags.force ? '?force=true' : ''}`);
    context.output.note(`deployment ${name} of ${endpoint} is deleted; its jobs stay`);
    return 0;
  },
  jobs: async ({ transport, output }, flags) => {
    const { endpoint, name } = named(flags);
    const api = await transport();
    await api.ask('GET', deploymentPath(endpoint, name));
    output.list(await listJobs(api, { endpoint, deployment: name }), jobColumns);
    return 0;
  },
};

/** The same for those that make a revision. */
export const deploymentPuts: Readonly<Record<'create' | 'update', Act<DeploymentCreateFlags>>> = {
  create: async (context, flags) => {
    required(flags.file, '--file/-f');
    return await put(context, flags, null);
  },
  update: async (context, flags) => {
    if (flags.file !== undefined) return await put(context, flags, null);
    const { endpoint, name } = named(flags);
    const api = await context.transport();
    return await untilUnchanged(async () => {
      const before = await api.ask('GET', deploymentPath(endpoint, name));
      const body = changed(before.value, flags);
      const made = thingOf(api, await api.ask('PUT', deploymentPath(endpoint, name), { body, ifMatch: before.etag }));
      context.output.item(made, deploymentSheet);
      return 0;
    });
  },
};

/** Reads the files, sends what the coordinator lacks of them, and puts the deployment. */
async function put(context: CommandContext, flags: DeploymentCreateFlags, ifMatch: string | null): Promise<number> {
  const { host, output } = context;
  const opened = await openThing(context, flags, 'deployment', [
    { key: ['name'], value: flags.name, flag: '--name' },
    { key: ['endpoint_name'], value: flags.endpointName, flag: '--endpoint-name' },
  ]);
  const api = await context.transport();
  const said = opened.source.textAt(['endpoint_name']);
  const endpoint = required(said, '--endpoint-name/-e, or endpoint_name in --file');
  await endpointOf(api, endpoint);
  const file = await readThing(context, opened, 'deployment', {
    python: pythonSetting(undefined, host.environment),
    isScriptUnchecked: flags.skipScriptValidation ?? false,
    assets: assetsOf(api),
  });
  const { deployment } = file;
  output.note(`deployment  ${deployment.name} (${scorerText(deployment)})`);
  const body = {
    deployment: await sentDeployment(await uploadsOf(context, api, flags), deployment),
    document: opened.source.toJs(),
    description: file.description,
    tags: file.tags,
    properties: file.properties,
    ...(file.compute === null ? {} : { compute: file.compute }),
    ...(flags.setDefault ? { set_default: true } : {}),
  };
  const made = thingOf(api, await api.ask('PUT', deploymentPath(endpoint, deployment.name), { body, ifMatch }));
  output.item(made, deploymentSheet);
  return 0;
}

/** Keys that only files tell of: what scores, and with what. */
const fileKeys = ['model', 'code_configuration', 'environment'] as const;

/**
 * What is there, with the changes in its YAML. Files are not read again: they may be on another machine.
 * @throws USAGE when nothing is said, or what needs the files
 */
function changed(before: unknown, flags: DeploymentCreateFlags): unknown {
  const edits = editsOf(flags);
  if (edits.set.length + edits.add.length + edits.remove.length === 0) {
    throw new BatchError('USAGE', 'batch-deployment update: say what changes, with --set, --add, --remove or --file');
  }
  const parsed = updatable.safeParse(before);
  if (!parsed.success) {
    throw new BatchError(
      'USAGE',
      'batch-deployment update: this deployment was not made from a YAML; give one with --file',
    );
  }
  const { document, deployment } = parsed.data;
  const edited = applyEdits(document, edits) as Readonly<Record<string, unknown>>;
  const source = new ConfigSource(JSON.stringify(edited), `${deployment.name}, as it was written, with the changes`);
  const needsFiles = fileKeys.find((key) => !isDeepStrictEqual(edited[key], document[key]));
  if (needsFiles !== undefined || !isDeepStrictEqual(onnxOf(edited), onnxOf(document))) {
    const key = needsFiles ?? 'settings.onnx';
    throw new BatchError('USAGE', `batch-deployment update: ${key} is read with the files: give the YAML with --file`);
  }
  const { description = null, tags = {}, properties = {}, compute = null } = edited;
  return {
    deployment: withSettingsOf(source, deployment),
    document: edited,
    ...{ description, tags, properties },
    ...(typeof compute === 'string' ? { compute: compute.replace(/^azureml:/i, '') } : {}),
  };
}

const updatable = z.looseObject({
  document: z.record(z.string(), z.unknown()),
  deployment: z.looseObject({ name: z.string() }) as unknown as z.ZodType<Deployment>,
});

function onnxOf(document: Readonly<Record<string, unknown>>): unknown {
  const settings = document['settings'];
  return typeof settings === 'object' && settings !== null && 'onnx' in settings ? settings.onnx : undefined;
}
