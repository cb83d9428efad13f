/** The rules by which what is registered changes: upserts, versions that stay what they are, and nothing that goes while jobs need it. */
import { BatchError } from '../../common/core/batch-error.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Command } from './commands.ts';
import type { Event, EventOf } from './events.ts';
import type { Ledger } from './ledger.ts';
import type { Registry, Stored } from './registry.ts';
import {
  assetKey,
  isAsset,
  namedKey,
  resourceKey,
  type Asset,
  type DeploymentResource,
  type EndpointResource,
  type Resource,
  type ResourceOf,
} from './resources.ts';

type CommandOf<K extends Command['kind']> = Extract<Command, { kind: K }>;

/** @throws RESOURCE_CHANGED, RESOURCE_EXISTS, RESOURCE_NOT_FOUND, REQUEST_INVALID */
export function putResource(ledger: Ledger, command: CommandOf<'put-resource'>): readonly Event[] {
  const { registry } = ledger;
  const { ifMatch, resource } = command;
  if (isAsset(resource)) return putAsset(registry, resource, ifMatch);
  const key = resourceKey(resource);
  const before = registry.get(key);
  requireTag(key, before, ifMatch);
  switch (resource.kind) {
    case 'endpoint':
      return [put(checkedEndpoint(registry, resource, before?.resource as EndpointResource | undefined))];
    case 'deployment':
      return putDeployment(registry, resource, command.isDefault === true);
    default:
      return [put(before ? { ...resource, ...madeOf(before.resource) } : resource)];
  }
}

/**
 * What a version is made of never changes; what is said about it may.
 * @source Azure ML: assets are immutable, `create` counts versions up when none is given
 */
function putAsset(registry: Registry, asset: Asset, ifMatch: number | null): readonly Event[] {
  if (asset.version === '') return [put({ ...asset, version: registry.nextVersion(asset.kind, asset.name) })];
  const key = resourceKey(asset);
  const before = registry.get(key);
  requireTag(key, before, ifMatch);
  if (!before) return [put(asset)];
  const next = { ...asset, ...madeOf(before.resource) };
  if (contentOf(before.resource as Asset) !== contentOf(next)) {
    throw new BatchError(
      'RESOURCE_EXISTS',
      `the ${asset.kind} ${asset.name} has a version ${asset.version} that is something else; versions never change: choose another one, or none to count up`,
    );
  }
  return [put(next)];
}

/** All but what people say about it. */
function contentOf(asset: Asset): string {
  return JSON.stringify({ ...asset, description: null, tags: null, properties: null });
}

function madeOf({ createdMs, createdBy }: Resource): Pick<Resource, 'createdMs' | 'createdBy'> {
  return { createdMs, createdBy };
}

/** @source Azure ML: properties of an endpoint can be added to, and neither changed nor removed */
function checkedEndpoint(
  registry: Registry,
  endpoint: EndpointResource,
  before: EndpointResource | undefined,
): EndpointResource {
  for (const [key, value] of Object.entries(before?.properties ?? {})) {
    if (endpoint.properties[key] === value) continue;
    const message = `property ${key} of endpoint ${endpoint.name} is ${value} and stays so; properties can be added only, use tags for what changes`;
    throw new BatchError('REQUEST_INVALID', message);
  }
  const { defaultDeployment } = endpoint;
  if (defaultDeployment !== null && !registry.deployment(endpoint.name, defaultDeployment)) {
    const there = registry.deploymentsOf(endpoint.name).map(({ resource }) => resource.name);
    throw new BatchError(
      'RESOURCE_NOT_FOUND',
      `Deployment name ${defaultDeployment} not found for this endpoint: ${endpoint.name} ${there.length === 0 ? 'has none' : `has ${there.join(', ')}`}`,
    );
  }
  // As it was first written.
  return before ? { ...endpoint, name: before.name, ...madeOf(before) } : endpoint;
}

function putDeployment(registry: Registry, given: DeploymentResource, isDefault: boolean): readonly Event[] {
  const endpoint = registry.endpoint(given.endpoint);
  if (!endpoint) throw notFound(namedKey('endpoint', given.endpoint));
  const before = registry.deployment(given.endpoint, given.name);
  const isSame = before && JSON.stringify(scoringOf(before)) === JSON.stringify(scoringOf(given));
  const revision = before ? before.revision + (isSame ? 0 : 1) : 1;
  const next = { ...given, endpoint: endpoint.name, revision, ...(before ? madeOf(before) : {}) };
  const events: Event[] = [put(before ? { ...next, name: before.name } : next)];
  if (isDefault) events.push(put({ ...endpoint, defaultDeployment: given.name, changedMs: given.changedMs }));
  return events;
}

/** What decides which rows come out, and where. */
function scoringOf({ deployment, compute }: DeploymentResource): unknown {
  return { deployment: { ...deployment, name: '' }, compute };
}

/** @throws RESOURCE_NOT_FOUND, RESOURCE_CHANGED, RESOURCE_IN_USE */
export function removeResource(ledger: Ledger, command: CommandOf<'remove-resource'>): readonly Event[] {
  const { registry } = ledger;
  const { key, ifMatch, isForced } = command;
  const found = registry.get(key);
  if (!found) throw notFound(key);
  requireTag(key, found, ifMatch);
  const { resource } = found;
  if (!isForced) refuseUsed(ledger, resource);
  const removed: Event = { kind: 'ResourceRemoved', key };
  switch (resource.kind) {
    case 'endpoint': {
      const under = registry.deploymentsOf(resource.name).map((one) => resourceKey(one.resource));
      return [...under.map((one): Event => ({ kind: 'ResourceRemoved', key: one })), removed];
    }
    case 'deployment': {
      const endpoint = registry.endpoint(resource.endpoint);
      const isDefault = endpoint?.defaultDeployment?.toLowerCase() === resource.name.toLowerCase();
      return endpoint && isDefault ? [put({ ...endpoint, defaultDeployment: null }), removed] : [removed];
    }
    default:
      return [removed];
  }
}

function refuseUsed(ledger: Ledger, resource: Resource): void {
  const isUsed = (job: (typeof jobs)[number]): boolean => {
    const { endpoint, compute } = job.origin;
    switch (resource.kind) {
      case 'endpoint':
        return endpoint?.toLowerCase() === resource.name.toLowerCase();
      case 'deployment':
        return (
          endpoint?.toLowerCase() === resource.endpoint.toLowerCase() &&
          job.deployment.name.toLowerCase() === resource.name.toLowerCase()
        );
      case 'compute':
        return compute?.toLowerCase() === resource.name.toLowerCase();
      default:
        return false;
    }
  };
  const jobs = [...ledger.jobs.values()].filter((job) => !isFinal(job.state));
  const [first, ...others] = jobs.filter(isUsed);
  if (!first) return;
  const more = others.length === 0 ? '' : ` and ${others.length} more`;
  throw new BatchError(
    'RESOURCE_IN_USE',
    `job ${first.name}${more} of ${resource.kind} ${resource.name} has not ended; wait, cancel it, or force the removal (jobs go on)`,
  );
}

function put(resource: Resource): EventOf<'ResourcePut'> {
  return { kind: 'ResourcePut', resource };
}

function requireTag(key: string, found: Stored | undefined, ifMatch: number | null): void {
  if (ifMatch === null || found?.tag === ifMatch) return;
  const what = found ? 'was changed meanwhile' : 'is not there';
  throw new BatchError('RESOURCE_CHANGED', `${wordsOf(key)} ${what}; read it again, and send what it is to be`);
}

/** A null version is the latest. @throws RESOURCE_NOT_FOUND */
export function assetIn<K extends Asset['kind']>(
  registry: Registry,
  kind: K,
  name: string,
  version: string | null,
): Stored<ResourceOf<K>> {
  const found =
    version === null
      ? registry.versions(kind, name)[0]
      : (registry.get(assetKey(kind, name, version)) as Stored<ResourceOf<K>> | undefined);
  if (!found) throw notFound(version === null ? `${kind}:${name}` : assetKey(kind, name, version));
  return found;
}

export function notFound(key: string): BatchError {
  return new BatchError('RESOURCE_NOT_FOUND', `there is no ${wordsOf(key)}`);
}

/** `model mnist:3`, `deployment digits/torch` */
function wordsOf(key: string): string {
  return key.replace(':', ' ');
}
