/** What the HTTP API asks of the registry: assets, endpoints, deployments and what operators set up, as callers see them. */
import type { NodeView } from './backend.ts';
import type { Artifact, Deployment, EnvironmentSpec, LocalDeployment } from '../../common/core/deployment.ts';
import type { Upload } from '../registry/uploads.ts';
import type { Caller } from './caller.ts';

export interface ServerView {
  readonly release: string;
  readonly hostname: string;
  /** Absolute, on the coordinator's machine. */
  readonly state_dir: string;
  /** Random text that the file `instance` in the state directory holds too: who can read it shares the disk. */
  readonly instance: string;
  readonly now: string;
}

interface MadeView {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
  readonly created_at: string;
  readonly created_by: string;
}

interface VersionView extends MadeView {
  readonly version: string;
}

export interface ModelView extends VersionView {
  readonly type: 'custom_model' | 'mlflow_model' | 'triton_model';
  /** What it is referred to as. */
  readonly path: string;
  readonly artifact: Artifact;
  readonly flavor: 'onnx' | 'mlflow' | null;
  readonly environment: EnvironmentSpec | null;
}

export interface DataView extends VersionView {
  readonly type: 'uri_folder' | 'uri_file';
  readonly path: string;
}

export interface EnvironmentView extends VersionView {
  readonly image: string | null;
  /** Text of the conda file. */
  readonly conda_file: string | null;
  readonly spec: EnvironmentSpec;
}

export interface DatastoreView extends MadeView {
  readonly location: string;
}

export interface ComputeView extends MadeView {
  readonly type: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly min_instances: number;
  readonly max_instances: number | null;
  readonly idle_time_before_scale_down: number;
  readonly size: string | null;
  readonly tier: string | null;
  /** Of sbatch, with which an allocator submits its nodes. */
  readonly slurm_options: readonly string[];
  /** What its allocator has said last; null: none has since the coordinator was started. */
  readonly allocation: AllocationView | null;
  readonly provisioning_state: 'Succeeded';
}

/** How an allocator fares that starts and ends nodes of a compute. */
export interface AllocationReport {
  readonly state: 'active' | 'paused';
  /** Of Slurm, by their state. */
  readonly pending: number;
  readonly running: number;
  /** How many it wants. */
  readonly wanted: number;
  /** Why it is paused, or what went wrong last; null: nothing has. */
  readonly reason: string | null;
  readonly paused_until: string | null;
}

export interface AllocationView extends AllocationReport {
  /** When it last asked what there is to do. */
  readonly seen_at: string;
}

/** What an allocator goes by. */
export interface DemandView {
  readonly jobs: number;
  /** That wait or are under way. */
  readonly mini_batches: number;
  /** Its nodes that are connected. */
  readonly nodes: readonly NodeView[];
}

export interface EndpointView extends MadeView {
  readonly auth_mode: 'aad_token';
  readonly defaults: { readonly deployment_name: string | null };
  /** Jobs of it that may run at a time; null: any number. */
  readonly concurrency_max: number | null;
  readonly provisioning_state: 'Succeeded';
  readonly scoring_uri: string;
  readonly openapi_uri: string;
  readonly changed_at: string;
}

export interface DeploymentView extends MadeView {
  readonly endpoint_name: string;
  readonly type: 'model';
  readonly revision: number;
  readonly model: string | null;
  readonly code_configuration: { readonly code: string; readonly scoring_script: string } | null;
  /** What a worker node makes of it, in words. */
  readonly environment: string;
  readonly compute: string | null;
  readonly resources: { readonly instance_count: number | null };
  /** By the keys of the YAML. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The file as it was written; null: there was none. */
  readonly document: unknown;
  /** Resolved, as it can be put again. */
  readonly deployment: Deployment;
  readonly provisioning_state: 'Succeeded';
  readonly changed_at: string;
}

export interface AssetViews {
  readonly model: ModelView;
  readonly data: DataView;
  readonly environment: EnvironmentView;
}
export type AssetKind = keyof AssetViews;

export interface SetUpViews {
  readonly datastore: DatastoreView;
  readonly compute: ComputeView;
}
export type SetUpKind = keyof SetUpViews;

/** A view with what HTTP calls its ETag. */
export interface Tagged<T> {
  readonly view: T;
  readonly tag: number;
  readonly isNew: boolean;
}

export interface Description {
  readonly description: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
}

export interface AssetRequest extends Description {
  readonly name: string;
  /** Null: counted up. */
  readonly version: string | null;
  readonly type: string | null;
  /** On the coordinator's machine; of data also any location. */
  readonly path: string | null;
  readonly artifact: Artifact | null;
  readonly image: string | null;
  /** Its contents: a mapping, or the text of a file. */
  readonly condaFile: unknown;
}

/** What is undefined stays as it is. */
export interface EndpointRequest extends Description {
  readonly defaultDeployment: string | null | undefined;
  readonly concurrencyMax: number | null | undefined;
}

export interface DeploymentRequest extends Description {
  /** Null: made of `document`. */
  readonly deployment: LocalDeployment | null;
  readonly document: unknown;
  readonly compute: string | null;
  readonly isDefault: boolean;
}

export interface DatastoreRequest extends Description {
  readonly location: string;
}

export interface ComputeRequest extends Description {
  readonly type: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly minInstances: number;
  readonly maxInstances: number | null;
  readonly idleSeconds: number;
  readonly size: string | null;
  readonly tier: string | null;
}

export interface Removal {
  /** Null: whatever is there. */
  readonly ifMatch: number | null;
  /** Also while jobs of it have not ended. */
  readonly isForced: boolean;
}

/** All of it throws RESOURCE_NOT_FOUND for what is not there, and RESOURCE_CHANGED where `ifMatch` is another tag than there is. */
export interface RegistryBackend {
  server(): ServerView;
  hasArtifact(digest: string): Promise<boolean>;
  /** @throws ARTIFACT_CORRUPT, REQUEST_INVALID, DISK_FULL */
  receive(upload: Upload): Promise<Artifact>;

  /** The latest of each name, or all versions of one, newest first. */
  assets<K extends AssetKind>(kind: K, name: string | null): readonly AssetViews[K][];
  /** A null version is the latest. */
  asset<K extends AssetKind>(kind: K, name: string, version: string | null): Tagged<AssetViews[K]>;
  /** @throws RESOURCE_EXISTS, DEPLOYMENT_INVALID, ENVIRONMENT_INVALID, DEPLOYMENT_NOT_FOUND, LOCATION_INVALID, ARTIFACT_NOT_FOUND */
  createAsset<K extends AssetKind>(kind: K, request: AssetRequest, caller: Caller): Promise<Tagged<AssetViews[K]>>;
  removeAsset(kind: AssetKind, name: string, version: string, removal: Removal): Promise<void>;

  setUps<K extends SetUpKind>(kind: K): readonly SetUpViews[K][];
  setUp<K extends SetUpKind>(kind: K, name: string): Tagged<SetUpViews[K]>;
  /** @throws LOCATION_INVALID */
  putDatastore(
    name: string,
    request: DatastoreRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<DatastoreView>>;
  putCompute(
    name: string,
    request: ComputeRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<ComputeView>>;
  /** @throws RESOURCE_NOT_FOUND */
  demand(name: string): DemandView;
  /** @throws RESOURCE_NOT_FOUND */
  reportAllocation(name: string, report: AllocationReport): ComputeView;
  /** @throws RESOURCE_IN_USE */
  removeSetUp(kind: SetUpKind, name: string, removal: Removal): Promise<void>;

  endpoints(): readonly EndpointView[];
  endpoint(name: string): Tagged<EndpointView>;
  /** @throws REQUEST_INVALID for a property that would change */
  putEndpoint(
    name: string,
    request: EndpointRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<EndpointView>>;
  /** With its deployments; its jobs stay. @throws RESOURCE_IN_USE */
  removeEndpoint(name: string, removal: Removal): Promise<void>;

  deployments(endpoint: string): readonly DeploymentView[];
  deployment(endpoint: string, name: string): Tagged<DeploymentView>;
  /** The newest first. */
  revisions(endpoint: string, name: string): readonly DeploymentView[];
  /** @throws what resolving a deployment throws, ARTIFACT_NOT_FOUND */
  putDeployment(
    endpoint: string,
    name: string,
    request: DeploymentRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<DeploymentView>>;
  /** @throws RESOURCE_IN_USE */
  removeDeployment(endpoint: string, name: string, removal: Removal): Promise<void>;
}
