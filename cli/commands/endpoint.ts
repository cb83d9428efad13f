/** `batch-endpoint create`, `show`, `list`, `update`, `delete`, `list-jobs`. */
import { deploymentPath, endpointPath, listThings, thingOf, type Thing } from '../api/registry.ts';
import { listJobs } from '../api/jobs.ts';
import type { Transport } from '../api/transport.ts';
import type { CommandContext } from '../command-context.ts';
import { applyEdits } from '../edit.ts';
import { jobColumns } from '../job-text.ts';
import type { ChangeFlags, DeleteFlags } from '../program-parts.ts';
import { endpointColumns, endpointSheet, valueAt } from '../thing-text.ts';
import { editsOf, isSure, openThing, readThing, required, untilUnchanged } from './thing-parts.ts';

export interface EndpointFlags extends ChangeFlags, DeleteFlags {
  readonly name?: string;
  readonly defaults?: readonly string[];
}

type Act = (context: CommandContext, flags: EndpointFlags) => Promise<number>;

/** Each answers with the exit code. */
export const endpointCommands: Readonly<Record<'create' | 'show' | 'update' | 'delete' | 'jobs', Act>> = {
  create,
  show: async ({ transport, output }, flags) => {
    const api = await transport();
    output.item(thingOf(api, await api.ask('GET', endpointPath(required(flags.name, '--name/-n')))), endpointSheet);
    return 0;
  },
  update,
  delete: async (context, flags) => {
    const name = required(flags.name, '--name/-n');
    const api = await context.transport();
    if (!flags.yes) await api.ask('GET', endpointPath(name));
    if (!(await isSure(context, `endpoint ${name} with its deployments`, flags))) return 1;
    await api.ask('DELETE', `${endpointPath(name)}${flags.force ? '?force=true' : ''}`);
    context.output.note(`endpoint ${name} is deleted; its jobs stay`);
    return 0;
  },
  jobs: async ({ transport, output }, flags) => {
    const name = required(flags.name, '--name/-n');
    const api = await transport();
    await api.ask('GET', endpointPath(name));
    output.list(await listJobs(api, { endpoint: name }), jobColumns);
    return 0;
  },
};

export async function listEndpoints({ transport, output }: CommandContext): Promise<number> {
  const endpoints = await listThings(await transport(), '/v1/endpoints');
  if (endpoints.length === 0) output.note('no endpoints yet; make one with: batchmill batch-endpoint create -n NAME');
  output.list(endpoints, endpointColumns);
  return 0;
}

async function create(context: CommandContext, flags: EndpointFlags): Promise<number> {
  const opened = await openThing(context, flags, 'endpoint', [{ key: ['name'], value: flags.name, flag: '--name' }]);
  const file = await readThing(context, opened, 'endpoint');
  const name = required(file.name, '--name/-n, or name in --file');
  const body = {
    description: file.description,
    tags: file.tags,
    properties: file.properties,
    auth_mode: file.authMode,
    ...(file.defaultDeployment === null ? {} : { defaults: { deployment_name: file.defaultDeployment } }),
  };
  const api = await context.transport();
  const made = thingOf(api, await api.ask('PUT', endpointPath(name), { body }));
  context.output.item(made, endpointSheet);
  return 0;
}

/** What may be said anew of an endpoint. */
const editable = ['description', 'tags', 'properties', 'auth_mode', 'defaults'] as const;

async function update(context: CommandContext, flags: EndpointFlags): Promise<number> {
  const name = required(flags.name, '--name/-n');
  const api = await context.transport();
  const said = await saidAnew(context, flags);
  const changed = await untilUnchanged(async () => {
    const before = await api.ask('GET', endpointPath(name));
    const kept = Object.fromEntries(editable.map((key) => [key, valueAt(before.value, [key])]));
    const body = withDefault(applyEdits({ ...kept, ...said }, editsOf(flags)));
    return thingOf(api, await api.ask('PUT', endpointPath(name), { body, ifMatch: before.etag }));
  });
  context.output.item(changed, endpointSheet);
  return 0;
}

/** What `--file` and `--defaults` bring. */
async function saidAnew(context: CommandContext, flags: EndpointFlags): Promise<Readonly<Record<string, unknown>>> {
  const named = flags.defaults?.at(-1)?.replace(/^deployment_?name=/i, '');
  const defaults = named === undefined ? {} : { defaults: { deployment_name: named } };
  if (flags.file === undefined) return defaults;
  const opened = await openThing(context, { file: flags.file }, 'endpoint', []);
  const file = await readThing(context, opened, 'endpoint');
  const own = file.defaultDeployment === null ? {} : { defaults: { deployment_name: file.defaultDeployment } };
  const { description, tags, properties } = file;
  return { ...(description === null ? {} : { description }), tags, properties, ...own, ...defaults };
}

/**
 * With the default under its one name, also when there is none: what is not said of it stays as it is.
 * @source Azure ML: `deploymentName` is the wire name of the same key, and scripts write it
 */
function withDefault(value: unknown): unknown {
  const { defaults = null, ...rest } = value as { readonly defaults?: Readonly<Record<string, unknown>> | null };
  if (typeof defaults !== 'object') return value;
  const { deploymentName, ...named } = defaults ?? {};
  const name = deploymentName === undefined ? {} : { deployment_name: deploymentName };
  return { ...rest, defaults: { deployment_name: null, ...named, ...name } };
}

/** The endpoint, which must be there before anything is put under it. @throws RESOURCE_NOT_FOUND */
export async function endpointOf(api: Transport, name: string): Promise<Thing> {
  return thingOf(api, await api.ask('GET', endpointPath(name)));
}

/** The deployments under an endpoint. */
export async function deploymentsOf(api: Transport, endpoint: string): Promise<readonly Thing[]> {
  return await listThings(api, deploymentPath(endpoint));
}
