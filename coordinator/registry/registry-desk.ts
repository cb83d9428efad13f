/** The registry's side of the API: makes resources of requests, hands them to the ledger, and answers when that is durable. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import { isDigest } from '../../common/storage/artifact-listing.ts';
import type { Clock } from '../../common/io/clock.ts';
import type {
  AllocationReport,
  AssetKind,
  AssetRequest,
  AssetViews,
  ComputeRequest,
  ComputeView,
  DatastoreRequest,
  DatastoreView,
  DemandView,
  DeploymentRequest,
  DeploymentView,
  EndpointRequest,
  EndpointView,
  RegistryBackend,
  Removal,
  ServerView,
  SetUpKind,
  SetUpViews,
  Tagged,
} from '../api/registry-backend.ts';
import type { Secrets } from '../access/secrets.ts';
import type { Caller } from '../api/caller.ts';
import { assetIn, notFound } from '../core/decide-registry.ts';
import type { Stored } from '../core/registry.ts';
import {
  assetKey,
  deploymentKey,
  namedKey,
  resourceKey,
  type Asset,
  type ComputeResource,
  type Resource,
  type ResourceOf,
} from '../core/resources.ts';
import type { Loop } from '../loop.ts';
import { demandOf } from '../core/demand.ts';
import { nodeViews } from '../views/node-view.ts';
import { assetView, computeView, datastoreView, deploymentView, endpointView } from '../views/registry-view.ts';
import type { ArtifactStore } from './artifact-store.ts';
import { assetOf, resolveDocument } from './make-asset.ts';
import { sealed } from './stored.ts';
import { receiveUpload, type Upload } from './uploads.ts';

export interface RegistryDeskOptions {
  readonly loop: Loop;
  readonly artifacts: ArtifactStore;
  /** Absolute. */
  readonly stateDir: string;
  readonly secrets: Pick<Secrets, 'require'>;
  /** Also in the file `instance` of the state directory. */
  readonly instance: string;
  readonly release: string;
  readonly clock: Clock;
  /** What a place means on this machine. @throws LOCATION_INVALID */
  readonly locate: (text: string) => Promise<string>;
}

export class RegistryDesk implements RegistryBackend {
  readonly #options: RegistryDeskOptions;
  /** What allocators have said last, and when they last asked, by the name of their compute. A restart forgets it; they say it anew. */
  readonly #allocations = new Map<string, AllocationReport>();
  readonly #seenMs = new Map<string, number>();

  constructor(options: RegistryDeskOptions) {
    this.#options = options;
  }

  server(): ServerView {
    const { stateDir, instance, release, clock } = this.#options;
    const now = new Date(clock.wall()).toISOString();
    return { release, hostname: hostname(), state_dir: stateDir, instance, now };
  }

  async hasArtifact(digest: string): Promise<boolean> {
    return isDigest(digest) && (await this.#options.artifacts.has(digest));
  }

  receive(upload: Upload): Promise<Artifact> {
    return receiveUpload(this.#options.artifacts, upload);
  }

  assets<K extends AssetKind>(kind: K, name: string | null): readonly AssetViews[K][] {
    if (name !== null) return this.#registry.versions(kind, name).map(({ resource }) => assetView<K>(resource));
    const latest = new Map<string, Asset>();
    for (const { resource } of this.#registry.ofKind(kind)) latest.set((resource as Asset).name, resource);
    return [...latest.values()].map((asset) => assetView<K>(asset));
  }

  asset<K extends AssetKind>(kind: K, name: string, version: string | null): Tagged<AssetViews[K]> {
    const found = assetIn(this.#registry, kind, name, version);
    return { view: assetView<K>(found.resource as Asset), tag: found.tag, isNew: false };
  }

  async createAsset<K extends AssetKind>(
    kind: K,
    request: AssetRequest,
    caller: Caller,
  ): Promise<Tagged<AssetViews[K]>> {
    const { artifacts, stateDir, locate } = this.#options;
    const asset = await assetOf(kind, request, { artifacts, stateDir, locate });
    const stored = await this.#put({ ...asset, ...this.#made(caller) } as Asset, null);
    return { view: assetView<K>(stored.resource as Asset), tag: stored.tag, isNew: stored.isNew };
  }

  async removeAsset(kind: AssetKind, name: string, version: string, removal: Removal): Promise<void> {
    await this.#remove(assetKey(kind, name, version), removal);
  }

  setUps<K extends SetUpKind>(kind: K): readonly SetUpViews[K][] {
    return this.#registry.ofKind(kind).map(({ resource }) => this.#setUpView<K>(resource));
  }

  setUp<K extends SetUpKind>(kind: K, name: string): Tagged<SetUpViews[K]> {
    const { resource, tag } = this.#find(namedKey(kind, name));
    return { view: this.#setUpView<K>(resource as ResourceOf<SetUpKind>), tag, isNew: false };
  }

  async putDatastore(
    name: string,
    { location: given, ...said }: DatastoreRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<DatastoreView>> {
    const location = await this.#options.locate(given);
    const stored = await this.#put({ kind: 'datastore', name, location, ...said, ...this.#made(caller) }, ifMatch);
    return { ...stored, view: datastoreView(stored.resource) };
  }

  async putCompute(
    name: string,
    request: ComputeRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<ComputeView>> {
    const stored = await this.#put({ kind: 'compute', name, ...request, ...this.#made(caller) }, ifMatch);
    return { ...stored, view: this.#setUpView<'compute'>(stored.resource) };
  }

  demand(name: string): DemandView {
    const { resource } = this.#find(namedKey('compute', name));
    const { ledger } = this.#options.loop;
    const { jobs, miniBatches, nodes } = demandOf(ledger, resource as ComputeResource);
    const names = new Set<string>(nodes.map((node) => node.name));
    this.#seenMs.set(resource.name, this.#options.clock.wall());
    return { jobs, mini_batches: miniBatches, nodes: nodeViews(ledger).filter((node) => names.has(node.name)) };
  }

  reportAllocation(name: string, report: AllocationReport): ComputeView {
    const { resource } = this.#find(namedKey('compute', name));
    this.#allocations.set(resource.name, report);
    return this.#setUpView<'compute'>(resource as ComputeResource);
  }

  #setUpView<K extends SetUpKind>(resource: ResourceOf<SetUpKind>): SetUpViews[K] {
    if (resource.kind === 'datastore') return datastoreView(resource) as SetUpViews[K];
    const report = this.#allocations.get(resource.name);
    const seenMs = this.#seenMs.get(resource.name) ?? this.#options.clock.wall();
    const allocation = report ? { ...report, seen_at: new Date(seenMs).toISOString() } : null;
    return computeView(resource, allocation) as SetUpViews[K];
  }

  async removeSetUp(kind: SetUpKind, name: string, removal: Removal): Promise<void> {
    await this.#remove(namedKey(kind, name), removal);
  }

  endpoints(): readonly EndpointView[] {
    return this.#registry.ofKind('endpoint').map(({ resource }) => endpointView(resource));
  }

  endpoint(name: string): Tagged<EndpointView> {
    const { resource, tag } = this.#find(namedKey('endpoint', name));
    return { view: endpointView(resource as ResourceOf<'endpoint'>), tag, isNew: false };
  }

  async putEndpoint(
    name: string,
    request: EndpointRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<EndpointView>> {
    const made = this.#made(caller);
    const before = this.#registry.endpoint(name);
    const { defaultDeployment = before?.defaultDeployment ?? null } = request;
    const { concurrencyMax = before?.concurrencyMax ?? null, ...said } = request;
    const settings = { ...said, defaultDeployment, concurrencyMax };
    const endpoint = { kind: 'endpoint', name, ...settings, ...made, changedMs: made.createdMs } as const;
    const stored = await this.#put(endpoint, ifMatch);
    return { ...stored, view: endpointView(stored.resource) };
  }

  async removeEndpoint(name: string, removal: Removal): Promise<void> {
    await this.#remove(namedKey('endpoint', name), removal);
  }

  deployments(endpoint: string): readonly DeploymentView[] {
    this.#find(namedKey('endpoint', endpoint));
    return this.#registry.deploymentsOf(endpoint).map(({ resource }) => deploymentView(resource));
  }

  deployment(endpoint: string, name: string): Tagged<DeploymentView> {
    const { resource, tag } = this.#find(deploymentKey(endpoint, name));
    return { view: deploymentView(resource as ResourceOf<'deployment'>), tag, isNew: false };
  }

  revisions(endpoint: string, name: string): readonly DeploymentView[] {
    this.#find(deploymentKey(endpoint, name));
    return this.#registry.revisions(endpoint, name).map(deploymentView).reverse();
  }

  async putDeployment(
    endpoint: string,
    name: string,
    request: DeploymentRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<DeploymentView>> {
    // Asked before anything is copied.
    this.#find(namedKey('endpoint', endpoint));
    const { deployment: given, document, isDefault, ...said } = request;
    const { artifacts, secrets } = this.#options;
    const local = given ?? (await resolveDocument(document, name, this.#registry));
    secrets.require(local.settings.environmentVariables);
    const deployment = await sealed(artifacts, { ...local, name });
    const made = this.#made(caller);
    const stored = await this.#put(
      {
        kind: 'deployment',
        name,
        endpoint,
        revision: 0,
        deployment,
        document,
        ...said,
        ...made,
        changedMs: made.createdMs,
      },
      ifMatch,
      isDefault,
    );
    return { ...stored, view: deploymentView(stored.resource) };
  }

  async removeDeployment(endpoint: string, name: string, removal: Removal): Promise<void> {
    await this.#remove(deploymentKey(endpoint, name), removal);
  }

  get #registry() {
    return this.#options.loop.ledger.registry;
  }

  #made({ user }: Caller): { readonly createdMs: number; readonly createdBy: string } {
    return { createdMs: this.#options.clock.wall(), createdBy: user };
  }

  #find(key: string): Stored {
    const found = this.#registry.get(key);
    if (!found) throw notFound(key);
    return found;
  }

  /** The version of an asset may have been counted up. */
  async #put<R extends Resource>(
    resource: R,
    ifMatch: number | null,
    isDefault = false,
  ): Promise<{ readonly resource: R; readonly tag: number; readonly isNew: boolean }> {
    const { loop } = this.#options;
    const before = this.#registry.get(resourceKey(resource));
    loop.handle({ kind: 'put-resource', resource, ifMatch, isDefault });
    const isCounted = 'version' in resource && resource.version === '';
    const after = isCounted
      ? this.#registry.versions(resource.kind as AssetKind, resource.name)[0]
      : this.#registry.get(resourceKey(resource));
    await loop.durable();
    if (!after) throw new BatchError('INTERNAL', `${resourceKey(resource)} is not there after it was put`);
    return { resource: after.resource as R, tag: after.tag, isNew: before === undefined };
  }

  async #remove(key: string, { ifMatch, isForced }: Removal): Promise<void> {
    const { loop } = this.#options;
    loop.handle({ kind: 'remove-resource', key, ifMatch, isForced });
    await loop.durable();
  }
}

/** Where the text that tells this coordinator's disk from others stands. */
export function instancePath(stateDir: string): string {
  return join(stateDir, 'instance');
}
