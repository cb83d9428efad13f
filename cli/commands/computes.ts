/** `datastore` and `compute`: names of places, and named sets of worker nodes. */
import { inputText } from '../../common/config/input-location.ts';
import { listThings, thingOf } from '../api/registry.ts';
import { segment } from '../api/transport.ts';
import type { CommandContext } from '../command-context.ts';
import type { DeleteFlags, FileFlags } from '../program-parts.ts';
import { computeColumns, datastoreColumns } from '../thing-text.ts';
import { isSure, openThing, pairsOf, readThing, required } from './thing-parts.ts';

export interface NamedFlags extends DeleteFlags {
  readonly name?: string;
}

export interface DatastoreFlags extends NamedFlags {
  readonly location?: string;
  readonly description?: string;
}

export interface ComputeFlags extends NamedFlags, FileFlags {
  readonly type?: string;
  readonly minInstances?: string;
  readonly maxInstances?: string;
  readonly idleTimeBeforeScaleDown?: string;
  readonly size?: string;
  readonly tier?: string;
  readonly label?: readonly string[];
  readonly description?: string;
  readonly slurmOption?: readonly string[];
}

type Kind = 'datastores' | 'computes';
type Act = (context: CommandContext, kind: Kind, flags: NamedFlags) => Promise<number>;

const columns = { datastores: datastoreColumns, computes: computeColumns } as const;
const words = { datastores: 'datastore', computes: 'compute' } as const;

function pathOf(kind: Kind, name: string | null | undefined): string {
  return `/v1/${kind}/${segment(required(name, '--name/-n'))}`;
}

/** Each answers with the exit code. */
export const namedCommands: Readonly<Record<'show' | 'list' | 'delete', Act>> = {
  show: async ({ transport, output }, kind, { name }) => {
    const api = await transport();
    output.item(thingOf(api, await api.ask('GET', pathOf(kind, name))), columns[kind]);
    return 0;
  },
  list: async ({ transport, output }, kind) => {
    output.list(await listThings(await transport(), `/v1/${kind}`), columns[kind]);
    return 0;
  },
  delete: async (context, kind, flags) => {
    const path = pathOf(kind, flags.name);
    const api = await context.transport();
    const { name } = thingOf(api, await api.ask('GET', path));
    if (!(await isSure(context, `${words[kind]} ${name}`, flags))) return 1;
    await api.ask('DELETE', path);
    context.output.note(`${words[kind]} ${name} is deleted`);
    return 0;
  },
};

export async function createDatastore(context: CommandContext, flags: DatastoreFlags): Promise<number> {
  const location = inputText(required(flags.location, '--location'), context.host.cwd);
  const body = { location, ...(flags.description === undefined ? {} : { description: flags.description }) };
  const api = await context.transport();
  const made = thingOf(api, await api.ask('PUT', pathOf('datastores', flags.name), { body }));
  context.output.item(made, datastoreColumns);
  return 0;
}

export async function createCompute(context: CommandContext, flags: ComputeFlags): Promise<number> {
  const opened = await openThing(context, flags, 'compute', [
    { key: ['name'], value: flags.name, flag: '--name' },
    { key: ['type'], value: flags.type ?? (flags.file === undefined ? 'amlcompute' : undefined), flag: '--type' },
    { key: ['min_instances'], value: flags.minInstances, flag: '--min-instances' },
    { key: ['max_instances'], value: flags.maxInstances, flag: '--max-instances' },
    {
      key: ['idle_time_before_scale_down'],
      value: flags.idleTimeBeforeScaleDown,
      flag: '--idle-time-before-scale-down',
    },
    { key: ['size'], value: flags.size, flag: '--size' },
    { key: ['tier'], value: flags.tier, flag: '--tier' },
    { key: ['description'], value: flags.description, flag: '--description' },
    ...Object.entries(pairsOf('--label', flags.label)).map(([key, value]) => ({
      key: ['labels', key],
      value,
      flag: '--label',
    })),
  ]);
  const file = await readThing(context, opened, 'compute');
  const body = {
    type: file.type,
    min_instances: file.instancesMin,
    max_instances: file.instancesMax,
    idle_time_before_scale_down: file.idleSeconds,
    size: file.size,
    tier: file.tier,
    ...(file.description === null ? {} : { description: file.description }),
    tags: file.tags,
    labels: file.labels,
    slurm_options: flags.slurmOption ?? file.slurmOptions,
  };
  const api = await context.transport();
  const made = thingOf(api, await api.ask('PUT', pathOf('computes', file.name), { body }));
  context.output.item(made, computeColumns);
  return 0;
}
