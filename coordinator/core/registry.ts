/** What is registered beside jobs. Written by `evolve` only, as the rest of the ledger. */
import {
  deploymentKey,
  isAsset,
  namedKey,
  resourceKey,
  type Asset,
  type DeploymentResource,
  type EndpointResource,
  type Resource,
  type ResourceKind,
  type ResourceOf,
} from './resources.ts';

/** `tag` differs after each change: what HTTP calls an ETag. */
export interface Stored<R extends Resource = Resource> {
  readonly resource: R;
  readonly tag: number;
}

export interface RegistryImage {
  readonly tag: number;
  readonly stored: readonly (readonly [string, Stored])[];
  readonly earlier: readonly (readonly [string, readonly DeploymentResource[]])[];
  /** Absent in images of earlier releases: of assets that are there now it follows from `stored`. */
  readonly highest?: readonly (readonly [string, number])[];
}

export class Registry {
  readonly #kinds = new Map<ResourceKind, Map<string, Stored>>();
  /** Earlier revisions by the deployment's key, the oldest first. */
  readonly #earlier = new Map<string, DeploymentResource[]>();
  /** The highest whole number that was a version of an asset, by kind and name: also of one that is removed. */
  readonly #highest = new Map<string, number>();
  #tag = 0;

  get(key: string): Stored | undefined {
    return this.#kinds.get(key.slice(0, key.indexOf(':')) as ResourceKind)?.get(key);
  }

  /** In order of creation. */
  ofKind<K extends ResourceKind>(kind: K): readonly Stored<ResourceOf<K>>[] {
    return [...(this.#kinds.get(kind)?.values() ?? [])] as unknown as readonly Stored<ResourceOf<K>>[];
  }

  endpoint(name: string): EndpointResource | undefined {
    return this.get(namedKey('endpoint', name))?.resource as EndpointResource | undefined;
  }

  deployment(endpoint: string, name: string): DeploymentResource | undefined {
    return this.get(deploymentKey(endpoint, name))?.resource as DeploymentResource | undefined;
  }

  deploymentsOf(endpoint: string): readonly Stored<DeploymentResource>[] {
    const prefix = deploymentKey(endpoint, '');
    return this.ofKind('deployment').filter(({ resource }) => resourceKey(resource).startsWith(prefix));
  }

  /** Every revision of a deployment, the oldest first. */
  revisions(endpoint: string, name: string): readonly DeploymentResource[] {
    const now = this.deployment(endpoint, name);
    return [...(this.#earlier.get(deploymentKey(endpoint, name)) ?? []), ...(now ? [now] : [])];
  }

  /** Versions of an asset, the latest first. */
  versions<K extends Asset['kind']>(kind: K, name: string): readonly Stored<ResourceOf<K>>[] {
    return this.ofKind(kind)
      .filter(({ resource }) => (resource as Asset).name === name)
      .reverse();
  }

  /** A version that the asset has never had, counted up from the highest one. */
  nextVersion(kind: Asset['kind'], name: string): string {
    return String(1 + (this.#highest.get(`${kind}:${name}`) ?? 0));
  }

  put(resource: Resource): void {
    this.#count(resource);
    const key = resourceKey(resource);
    const before = this.get(key)?.resource;
    if (before?.kind === 'deployment' && before.revision !== (resource as DeploymentResource).revision) {
      this.#earlier.set(key, [...(this.#earlier.get(key) ?? []), before]);
    }
    this.#tag += 1;
    this.#ofKindOf(resource.kind).set(key, { resource, tag: this.#tag });
  }

  remove(key: string): void {
    const found = this.get(key);
    if (!found) return;
    this.#ofKindOf(found.resource.kind).delete(key);
    this.#earlier.delete(key);
    this.#tag += 1;
  }

  image(): RegistryImage {
    const stored = [...this.#kinds.values()].flatMap((kind) => [...kind]);
    const earlier = [...this.#earlier].map(([key, all]) => [key, [...all]] as const);
    return { tag: this.#tag, stored, earlier, highest: [...this.#highest] };
  }

  restore({ tag, stored, earlier, highest = [] }: RegistryImage): void {
    for (const [key, one] of stored) {
      this.#count(one.resource);
      this.#ofKindOf(one.resource.kind).set(key, one);
    }
    for (const [key, number] of highest) this.#highest.set(key, number);
    for (const [key, all] of earlier) this.#earlier.set(key, [...all]);
    this.#tag = tag;
  }

  #count(resource: Resource): void {
    const number = isAsset(resource) ? Number(resource.version) : 0;
    if (!isAsset(resource) || !Number.isSafeInteger(number)) return;
    const key = `${resource.kind}:${resource.name}`;
    this.#highest.set(key, Math.max(number, this.#highest.get(key) ?? 0));
  }

  #ofKindOf(kind: ResourceKind): Map<string, Stored> {
    let found = this.#kinds.get(kind);
    if (!found) this.#kinds.set(kind, (found = new Map()));
    return found;
  }
}
