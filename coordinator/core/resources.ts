/**
 * What is registered beside jobs, as plain data in the journal: assets with versions, endpoints and their deployments, and
 * what operators set up. Stored journals keep these shapes readable: change by addition only.
 */
import type { Artifact, Deployment, EnvironmentSpec } from '../../common/core/deployment.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';

interface Made {
  readonly createdMs: number;
  readonly createdBy: string;
}

interface Described extends Made {
  readonly description: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
}

interface Versioned extends Described {
  readonly name: string;
  /** Empty in a command: counted up from the highest whole number that there ever was. */
  readonly version: string;
}

export interface ModelAsset extends Versioned {
  readonly kind: 'model';
  readonly type: 'custom_model' | 'mlflow_model' | 'triton_model';
  readonly artifact: Artifact;
  /** What can score it without a script; null: nothing. */
  readonly flavor: 'onnx' | 'mlflow' | null;
  /** What an MLflow model brings along; null: nothing. */
  readonly environment: EnvironmentSpec | null;
}

export interface DataAsset extends Versioned {
  readonly kind: 'data';
  readonly type: 'uri_folder' | 'uri_file';
  /** An absolute path, a location, or the digest of an artifact. */
  readonly path: string;
}

export interface EnvironmentAsset extends Versioned {
  readonly kind: 'environment';
  readonly spec: EnvironmentSpec;
}

export interface DatastoreResource extends Described {
  readonly kind: 'datastore';
  readonly name: string;
  /** An absolute path or the canonical text of a location. */
  readonly location: string;
}

/** A named set of worker nodes: those that have all its labels. */
export interface ComputeResource extends Described {
  readonly kind: 'compute';
  readonly name: string;
  readonly type: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly minInstances: number;
  /** Null: as many as there are. */
  readonly maxInstances: number | null;
  readonly idleSeconds: number;
  readonly size: string | null;
  readonly tier: string | null;
  /** Of sbatch, with which an allocator submits its nodes; absent: none. */
  readonly slurmOptions?: readonly string[];
}

export interface EndpointResource extends Described {
  readonly kind: 'endpoint';
  readonly name: string;
  /** Serves an invocation that names none; null: the only one, if there is one only. */
  readonly defaultDeployment: string | null;
  /** Jobs of it that may run at a time; null: any number. */
  readonly concurrencyMax: number | null;
  readonly changedMs: number;
}

export interface DeploymentResource extends Described {
  readonly kind: 'deployment';
  readonly name: string;
  readonly endpoint: string;
  /** From 1; 0 in a command. Whatever changes how rows are made makes a new one, and none ever changes. */
  readonly revision: number;
  readonly deployment: Deployment;
  /** The file as it was written, for people; null: there was none. */
  readonly document: unknown;
  /** Named set of worker nodes; null: all. */
  readonly compute: string | null;
  readonly changedMs: number;
}

/** An endpoint that is invoked when a cron expression says so. */
export interface ScheduleResource extends Made {
  readonly kind: 'schedule';
  readonly name: string;
  readonly cron: string;
  /** IANA name. */
  readonly timeZone: string;
  readonly endpoint: string;
  /** Null: the endpoint's default. */
  readonly deployment: string | null;
  /** Of each invocation, as the API takes it. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly isPaused: boolean;
  /** What becomes of runs that were due while nobody was there to begin them. */
  readonly missed: 'skip' | 'once' | 'all';
  /** Due times up to here are dealt with. Milliseconds of the wall clock, as all of these. */
  readonly lastDueMs: number;
  readonly lastRun: {
    readonly dueMs: number;
    /** Null: it could not begin. */
    readonly job: string | null;
    readonly error: { readonly code: ErrorCode; readonly message: string } | null;
  } | null;
}

/** What a caller, or a worker node that joins, shows to be let in. The secret itself is kept nowhere. */
export interface TokenResource extends Made {
  readonly kind: 'token';
  /** Its id, which the secret begins with. */
  readonly name: string;
  /** SHA-256 of the secret, hexadecimal. */
  readonly hash: string;
  readonly user: string;
  /** `join`: makes certificates of worker nodes, and nothing else. */
  readonly role: 'admin' | 'invoker' | 'reader' | 'join';
  readonly expiresMs: number;
  /** Null: any number. */
  readonly usesLeft: number | null;
}

/** Of a worker node. */
export interface CertificateResource extends Made {
  readonly kind: 'certificate';
  /** Its serial, hexadecimal. */
  readonly name: string;
  readonly node: string;
  readonly expiresMs: number;
  readonly revokedMs: number | null;
}

/** What operators say of a worker node, by its name: it holds for whoever joins under it. */
export interface NodeResource extends Made {
  readonly kind: 'node';
  readonly name: string;
  /** It is granted nothing; what it holds goes on. */
  readonly isCordoned: boolean;
  /** Why it is granted nothing and what it held was taken back; null: nobody has quarantined it by hand. */
  readonly quarantine: string | null;
  /** Over those that it joins with; null: it does not have this one. */
  readonly labels: Readonly<Record<string, string | null>>;
  /** The process that leaves once what runs on it is scored, at the latest at a time of the wall clock; null: none is to. */
  readonly drain: { readonly incarnation: string; readonly untilWallMs: number | null } | null;
}

/** What is registered by access control alone. */
export type Credential = TokenResource | CertificateResource;
export type Asset = ModelAsset | DataAsset | EnvironmentAsset;
export type Resource =
  | Asset
  | DatastoreResource
  | ComputeResource
  | EndpointResource
  | DeploymentResource
  | ScheduleResource
  | NodeResource
  | Credential;
export type ResourceKind = Resource['kind'];
export type ResourceOf<K extends ResourceKind> = Extract<Resource, { readonly kind: K }>;

/** Names of endpoints, deployments, datastores and computes are matched whatever their case; assets' are not. */
export function resourceKey(resource: Resource): string {
  switch (resource.kind) {
    case 'model':
    case 'data':
    case 'environment':
      return assetKey(resource.kind, resource.name, resource.version);
    case 'deployment':
      return deploymentKey(resource.endpoint, resource.name);
    case 'node':
      return nodeKey(resource.name);
    default:
      return namedKey(resource.kind, resource.name);
  }
}

export function assetKey(kind: Asset['kind'], name: string, version: string): string {
  return `${kind}:${name}:${version}`;
}

export function deploymentKey(endpoint: string, name: string): string {
  return `deployment:${endpoint.toLowerCase()}/${name.toLowerCase()}`;
}

/** Names of worker nodes are told apart by their case. */
export function nodeKey(name: string): string {
  return `node:${name}`;
}

export function namedKey(kind: Exclude<ResourceKind, Asset['kind'] | 'deployment' | 'node'>, name: string): string {
  return `${kind}:${name.toLowerCase()}`;
}

export function isAsset(resource: Resource): resource is Asset {
  return resource.kind === 'model' || resource.kind === 'data' || resource.kind === 'environment';
}
