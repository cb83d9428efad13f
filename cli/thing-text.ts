/** Columns of what the coordinator shows as plain JSON. */
import type { Thing } from './api/registry.ts';
import type { Column } from './table.ts';

/** The value at a dotted key, as text; mappings as `a=b, c=d`. */
export function at(title: string, key: string): Column<Thing> {
  return { title, value: (thing) => text(valueAt(thing, key.split('.'))) };
}

/** Undefined for what is not there. */
export function valueAt(value: unknown, keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null ? (inner as Readonly<Record<string, unknown>>)[key] : undefined,
    value,
  );
}

function text(value: unknown): string | number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'number' || typeof value === 'string') return value;
  if (typeof value !== 'object') return String(value as boolean);
  if (Array.isArray(value)) return value.map((one) => text(one)).join(', ');
  return Object.entries(value)
    .map(([key, one]) => `${key}=${text(one)}`)
    .join(', ');
}

const description = at('description', 'description');
const tags = at('tags', 'tags');

export const endpointColumns: readonly Column<Thing>[] = [
  at('name', 'name'),
  at('default deployment', 'defaults.deployment_name'),
  at('state', 'provisioning_state'),
  at('created', 'created_at'),
];

export const endpointSheet: readonly Column<Thing>[] = [
  ...endpointColumns,
  description,
  tags,
  at('scoring_uri', 'scoring_uri'),
];

export const deploymentColumns: readonly Column<Thing>[] = [
  at('name', 'name'),
  at('endpoint', 'endpoint_name'),
  at('revision', 'revision'),
  at('state', 'provisioning_state'),
  at('created', 'created_at'),
];

export const deploymentSheet: readonly Column<Thing>[] = [
  ...deploymentColumns,
  description,
  tags,
  at('model', 'model'),
  at('code', 'code_configuration'),
  at('environment', 'environment'),
  at('compute', 'compute'),
  at('settings', 'settings'),
];

export const assetColumns: readonly Column<Thing>[] = [
  at('name', 'name'),
  at('version', 'version'),
  at('type', 'type'),
  at('created', 'created_at'),
];

export const assetSheet: readonly Column<Thing>[] = [
  ...assetColumns,
  description,
  tags,
  at('path', 'path'),
  at('flavor', 'flavor'),
  at('image', 'image'),
];

export const datastoreColumns: readonly Column<Thing>[] = [
  at('name', 'name'),
  at('location', 'location'),
  at('default', 'is_default'),
  description,
];

export const computeColumns: readonly Column<Thing>[] = [
  at('name', 'name'),
  at('type', 'type'),
  at('min', 'min_instances'),
  at('max', 'max_instances'),
  at('labels', 'labels'),
  at('slurm options', 'slurm_options'),
  at('allocator', 'allocation.state'),
  at('pending', 'allocation.pending'),
  at('running', 'allocation.running'),
  at('reason', 'allocation.reason'),
  description,
];
