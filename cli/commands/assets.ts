/** `model`, `data` and `environment`: what deployments and invocations name as `azureml:NAME:VERSION`. */
import { resolve } from 'node:path';
import { isUri } from '../../common/core/location.ts';
import type { OpenedFile } from '../../common/config/deployment-file.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { listThings, thingOf } from '../api/registry.ts';
import { segment, type Transport } from '../api/transport.ts';
import { asCount } from '../../common/config/process-settings.ts';
import type { CommandContext } from '../command-context.ts';
import type { DeleteFlags, FileFlags, PathFlags } from '../program-parts.ts';
import { assetColumns, assetSheet, valueAt } from '../thing-text.ts';
import { isSure, openThing, pairsOf, readThing, required, uploadsOf, type Override } from './thing-parts.ts';

export type AssetKindName = 'model' | 'data' | 'environment';

export interface AssetFlags extends FileFlags, DeleteFlags, PathFlags {
  readonly name?: string;
  readonly version?: string;
  readonly label?: string;
  readonly type?: string;
  readonly path?: string;
  readonly image?: string;
  readonly condaFile?: string;
  readonly description?: string;
  readonly tag?: readonly string[];
  readonly maxResults?: string;
}

type Act = (context: CommandContext, kind: AssetKindName, flags: AssetFlags) => Promise<number>;

const folders: Readonly<Record<AssetKindName, string>> = {
  model: '/v1/models',
  data: '/v1/data',
  environment: '/v1/environments',
};

/** Each answers with the exit code. */
export const assetCommands: Readonly<Record<'create' | 'show' | 'list' | 'delete', Act>> = {
  create,
  show: async ({ transport, output }, kind, flags) => {
    const api = await transport();
    output.item(thingOf(api, await api.ask('GET', versionPath(kind, flags))), assetSheet);
    return 0;
  },
  list: async ({ transport, output }, kind, flags) => {
    const max = flags.maxResults === undefined ? Infinity : asCount(flags.maxResults, '--max-results');
    const query = flags.name === undefined ? '' : `?name=${segment(flags.name)}`;
    output.list(await listThings(await transport(), `${folders[kind]}${query}`, max), assetColumns);
    return 0;
  },
  delete: async (context, kind, flags) => {
    const api = await context.transport();
    const found = thingOf(api, await api.ask('GET', versionPath(kind, flags)));
    const version = String(valueAt(found, ['version']));
    if (!(await isSure(context, `${kind} ${found.name}, version ${version}`, flags))) return 1;
    await api.ask('DELETE', versionPath(kind, { name: found.name, version }));
    context.output.note(`${kind} ${found.name}, version ${version}, is deleted`);
    return 0;
  },
};

/** @throws USAGE */
function versionPath(kind: AssetKindName, { name, version, label }: AssetFlags): string {
  const base = `${folders[kind]}/${segment(required(name, '--name/-n'))}`;
  if (version !== undefined && label !== undefined)
    throw new BatchError('USAGE', 'give --version or --label, not both');
  if (version !== undefined) return `${base}/versions/${segment(version)}`;
  return `${base}/labels/${segment(required(label, '--version/-v or --label/-l, such as --label latest'))}`;
}

async function create(context: CommandContext, kind: AssetKindName, flags: AssetFlags): Promise<number> {
  const { cwd } = context.host;
  const local = (path: string | undefined): string | undefined =>
    path === undefined || isUri(path) || /^(azureml|file):/i.test(path) ? path : resolve(cwd, path);
  const overrides: readonly Override[] = [
    { key: ['name'], value: flags.name, flag: '--name' },
    { key: ['version'], value: flags.version, flag: '--version' },
    { key: ['type'], value: flags.type, flag: '--type' },
    { key: ['path'], value: local(flags.path), flag: '--path' },
    { key: ['image'], value: flags.image, flag: '--image' },
    { key: ['conda_file'], value: local(flags.condaFile), flag: '--conda-file' },
    { key: ['description'], value: flags.description, flag: '--description' },
    ...Object.entries(pairsOf('--tag', flags.tag)).map(([key, value]) => ({
      key: ['tags', key],
      value,
      flag: '--tag',
    })),
  ];
  const opened = await openThing(context, flags, kind, overrides);
  const api = await context.transport();
  const said = await bodies[kind](context, opened, api, flags);
  const made = thingOf(api, await api.ask('POST', folders[kind], { body: said }));
  context.output.item(made, assetSheet);
  return 0;
}

type Body = (context: CommandContext, opened: OpenedFile, api: Transport, flags: PathFlags) => Promise<unknown>;

const bodies: Readonly<Record<AssetKindName, Body>> = {
  model: async (context, opened, api, flags) => {
    const file = await readThing(context, opened, 'model');
    required(file.name, '--name/-n, or name in --file');
    const model = await (await uploadsOf(context, api, flags)).send(file.artifact);
    const { name, version, type, description, tags, properties } = file;
    const place = 'digest' in model ? { artifact: model } : { path: model.path };
    return { ...known({ name, version, description }), type, tags, properties, ...place };
  },
  data: async (context, opened, api, flags) => {
    const file = await readThing(context, opened, 'data');
    required(file.name, '--name/-n, or name in --file');
    const data = file.artifact && (await (await uploadsOf(context, api, flags)).send(file.artifact));
    const { name, version, type, description, tags, properties } = file;
    const place = data !== null && 'digest' in data ? { artifact: data } : { path: file.path };
    return { ...known({ name, version, description }), type, tags, properties, ...place };
  },
  environment: async (context, opened) => {
    const file = await readThing(context, opened, 'environment');
    required(file.name, '--name/-n, or name in --file');
    const { name, version, description, tags, properties, environment } = file;
    const image = environment.kind === 'image' ? environment.image : null;
    const conda = environment.kind === 'host' ? null : environment.conda;
    return { ...known({ name, version, description, image, conda_file: conda?.yaml ?? null }), tags, properties };
  },
};

/** Without what is not known. */
function known(values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}
