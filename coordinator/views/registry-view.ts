/** What is registered, as callers see it. Pure. */
import type { Artifact, Deployment, DeploymentSettings, EnvironmentSpec } from '../../common/core/deployment.ts';
import { sizeText, splitText } from '../../common/config/settings-text.ts';
import type {
  AllocationView,
  AssetKind,
  AssetViews,
  ComputeView,
  DatastoreView,
  DeploymentView,
  EndpointView,
} from '../api/registry-backend.ts';
import type {
  ComputeResource,
  DataAsset,
  DatastoreResource,
  DeploymentResource,
  EndpointResource,
  EnvironmentAsset,
  ModelAsset,
  Resource,
  NodeResource,
  ScheduleResource,
  Credential,
} from '../core/resources.ts';
import { isoTime } from './job-view.ts';

const folders = { model: 'models', data: 'data', environment: 'environments' } as const;

export function assetView<K extends AssetKind>(asset: ModelAsset | DataAsset | EnvironmentAsset): AssetViews[K] {
  const id = `/v1/${folders[asset.kind]}/${asset.name}/versions/${asset.version}`;
  const common = { name: asset.name, version: asset.version, ...saidOf(asset), id };
  switch (asset.kind) {
    case 'model': {
      const { type, artifact, flavor, environment } = asset;
      const path = `azureml:${asset.name}:${asset.version}`;
      return { ...common, type, path, artifact, flavor, environment } as AssetViews[K];
    }
    case 'data':
      return { ...common, type: asset.type, path: asset.path } as AssetViews[K];
    case 'environment':
      return { ...common, ...environmentKeys(asset.spec), spec: asset.spec } as AssetViews[K];
  }
}

function environmentKeys(spec: EnvironmentSpec): { readonly image: string | null; readonly conda_file: string | null } {
  if (spec.kind === 'host') return { image: null, conda_file: null };
  return { image: spec.kind === 'image' ? spec.image : null, conda_file: spec.conda?.yaml ?? null };
}

function saidOf({
  description,
  tags,
  properties,
  createdMs,
  createdBy,
}: Exclude<Resource, ScheduleResource | NodeResource | Credential>) {
  return { description, tags, properties, created_at: isoTime(createdMs), created_by: createdBy };
}

export function datastoreView(datastore: DatastoreResource): DatastoreView {
  const { name, location } = datastore;
  return { name, location, ...saidOf(datastore), id: `/v1/datastores/${name}` };
}

export function computeView(compute: ComputeResource, allocation: AllocationView | null): ComputeView {
  const { name, type, labels, minInstances, maxInstances, idleSeconds, size, tier } = compute;
  return {
    ...{ name, type, labels, min_instances: minInstances, max_instances: maxInstances },
    ...{ idle_time_before_scale_down: idleSeconds, size, tier, provisioning_state: 'Succeeded' },
    ...{ slurm_options: compute.slurmOptions ?? [], allocation },
    ...saidOf(compute),
    id: `/v1/computes/${name}`,
  };
}

export function endpointView(endpoint: EndpointResource): EndpointView {
  const { name, defaultDeployment, concurrencyMax, changedMs } = endpoint;
  return {
    ...{ name, auth_mode: 'aad_token', defaults: { deployment_name: defaultDeployment } },
    ...{ concurrency_max: concurrencyMax, provisioning_state: 'Succeeded' },
    ...{ scoring_uri: `/azure/endpoints/${name}/jobs`, openapi_uri: '/openapi.json' },
    ...saidOf(endpoint),
    changed_at: isoTime(changedMs),
    id: `/v1/endpoints/${name}`,
  };
}

export function deploymentView(resource: DeploymentResource): DeploymentView {
  const { name, endpoint, revision, deployment, compute, document, changedMs } = resource;
  const { scorer, code, settings } = deployment;
  const hasScript = scorer.kind === 'python' || scorer.kind === 'node';
  return {
    ...{ name, endpoint_name: endpoint, type: 'model', revision },
    model: deployment.model && artifactText(deployment.model),
    code_configuration: hasScript && code ? { code: artifactText(code), scoring_script: scorer.script } : null,
    environment: environmentText(deployment),
    compute,
    resources: { instance_count: settings.instanceCountMax },
    settings: settingsView(settings),
    document,
    deployment,
    provisioning_state: 'Succeeded',
    ...saidOf(resource),
    changed_at: isoTime(changedMs),
    id: `/v1/endpoints/${endpoint}/deployments/${name}`,
  };
}

function artifactText({ asset, name, digest }: Artifact): string {
  return asset ?? `${name} (${digest})`;
}

function environmentText({ environment, scorer }: Deployment): string {
  if (scorer.kind === 'onnx' || scorer.kind === 'node') return 'none needed';
  switch (environment.kind) {
    case 'host':
      return environment.python ?? "the worker node's own Python";
    case 'conda':
      return `conda ${environment.conda.name} (${environment.conda.digest})`;
    case 'image':
      return `image ${environment.image}${environment.conda ? `, conda ${environment.conda.name}` : ''}`;
  }
}

/** @source Azure ML batch deployment YAML; what it does not have stands under the keys of ours */
function settingsView(settings: DeploymentSettings): Readonly<Record<string, unknown>> {
  const { parts, outputFormat } = settings;
  return {
    mini_batch_size: sizeText(settings.miniBatchSize),
    max_concurrency_per_instance: settings.concurrencyPerInstanceMax,
    retry_settings: { max_retries: settings.triesMax, timeout: settings.timeoutMs / 1_000 },
    error_threshold: settings.errorThreshold,
    output_action: settings.outputAction,
    output_file_name: settings.outputFileName,
    logging_level: settings.loggingLevel,
    environment_variables: settings.environmentVariables,
    isolation: settings.isolation,
    split_files: splitText(settings.splitFiles ?? { kind: 'off' }),
    speculation: settings.speculation,
    output: { format: parts?.format ?? outputFormat },
    input: {
      recursive: settings.recursive,
      include: settings.include ?? [],
      exclude: settings.exclude ?? [],
      incremental: settings.incremental ?? false,
    },
  };
}
