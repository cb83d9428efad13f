/** What a YAML came to, in words: endpoints, models, data assets, environments and computes. */
import type {
  ComputeFile,
  ConfigFile,
  DataFile,
  Described,
  EndpointFile,
  EnvironmentFile,
  ModelFile,
} from '../common/config/config-file.ts';
import type { EnvironmentSpec } from '../common/core/deployment.ts';
import { unreachable } from '../common/core/invariant.ts';
import type { Column } from './table.ts';

const heading: readonly Column<ConfigFile>[] = [
  { title: 'kind', value: (one) => one.kind },
  { title: 'name', value: (one) => one.name },
];

const footing: readonly Column<Described>[] = [
  { title: 'description', value: (one) => one.description },
  { title: 'tags', value: (one) => pairsText(one.tags) },
];

const version: Column<{ readonly version: string | null }> = { title: 'version', value: (one) => one.version };

export const endpointSheet: readonly Column<EndpointFile>[] = [
  ...heading,
  { title: 'default deployment', value: (one) => one.defaultDeployment },
  { title: 'auth_mode', value: (one) => one.authMode },
  ...footing,
];

export const modelSheet: readonly Column<ModelFile>[] = [
  ...heading,
  version,
  { title: 'type', value: (one) => one.type },
  { title: 'path', value: (one) => one.artifact.path },
  ...footing,
];

export const dataSheet: readonly Column<DataFile>[] = [
  ...heading,
  version,
  { title: 'type', value: (one) => one.type },
  { title: 'path', value: (one) => one.path },
  ...footing,
];

export const environmentSheet: readonly Column<EnvironmentFile>[] = [
  ...heading,
  version,
  { title: 'environment', value: (one) => environmentText(one.environment) },
  ...footing,
];

export const computeSheet: readonly Column<ComputeFile>[] = [
  ...heading,
  { title: 'type', value: (one) => one.type },
  { title: 'instances', value: (one) => `${one.instancesMin} to ${one.instancesMax}` },
  { title: 'tier', value: (one) => one.tier },
  { title: 'size', value: (one) => one.size },
  { title: 'idle', value: (one) => `${one.idleSeconds} s` },
  ...footing,
];

/** Which Python, in words. */
export function environmentText(environment: EnvironmentSpec): string {
  switch (environment.kind) {
    case 'host':
      return environment.python ?? 'the worker node’s own Python';
    case 'conda':
      return `conda file ${environment.conda.name} (${environment.conda.digest.slice(0, 19)})`;
    case 'image':
      return `image ${environment.image}`;
    default:
      return unreachable(environment);
  }
}

function pairsText(pairs: Readonly<Record<string, string>>): string {
  return Object.entries(pairs)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
}
