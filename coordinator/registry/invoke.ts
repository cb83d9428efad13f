/** From an endpoint and what is said at its invocation to a job: which deployment, which input, where the output goes. */
import { createHash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Deployment, DeploymentSettings } from '../../common/core/deployment.ts';
import { digest, jobName, type Digest, type JobName } from '../../common/core/ids.ts';
import { selectionOf } from '../../common/core/input-selection.ts';
import type { JobOrigin } from '../../common/core/job-origin.ts';
import type { JobShadow } from '../../common/core/shadow.ts';
import { splitRule } from '../../common/core/split.ts';
import { isUri, locationText, parseLocation } from '../../common/core/location.ts';
import type { Clock } from '../../common/io/clock.ts';
import type { Backend, JobRequest } from '../api/backend.ts';
import type { Caller } from '../api/caller.ts';
import type { Invocations, InvokeBody, Invoked, Overrides, PlaceGiven } from '../api/invocations.ts';
import { notFound } from '../core/decide-registry.ts';
import type { Job, Ledger } from '../core/ledger.ts';
import type { Registry } from '../core/registry.ts';
import { namedKey, type DeploymentResource, type EndpointResource } from '../core/resources.ts';
import { newJobName } from '../job-name.ts';

export interface InvokeOptions {
  readonly ledger: Ledger;
  readonly jobs: Pick<Backend, 'submit' | 'show'>;
  /** Absolute. */
  readonly stateDir: string;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
}

interface UnderWay {
  readonly digest: Digest;
  readonly done: Promise<Invoked>;
}

export class Invoker implements Invocations {
  readonly #options: InvokeOptions;
  /** Requests with a key whose jobs are not in the ledger yet. */
  readonly #underWay = new Map<string, UnderWay>();
  /** Jobs that were begun with a key, those of earlier processes from the first question on; some may be gone. */
  #jobsByScope: Map<string, JobName> | null = null;

  constructor(options: InvokeOptions) {
    this.#options = options;
  }

  async invoke(endpoint: string, body: InvokeBody, caller: Caller, key: string | null): Promise<Invoked> {
    if (key === null) return await this.#begin(endpoint, body, caller, null);
    const of = digestOf(endpoint, body);
    const scope = scopeOf(endpoint, caller.user, key);
    const known = this.#knownJob(scope);
    if (known) {
      requireSame(key, of, known.origin.idempotency?.digest);
      return { job: this.#options.jobs.show(known.name), isNew: false };
    }
    const begun = this.#underWay.get(scope);
    if (begun) {
      requireSame(key, of, begun.digest);
      return { ...(await begun.done), isNew: false };
    }
    const done = this.#begin(endpoint, body, caller, { key, digest: of });
    this.#underWay.set(scope, { digest: of, done });
    try {
      const invoked = await done;
      this.#byScope.set(scope, jobName(invoked.job.name));
      return invoked;
    } finally {
      this.#underWay.delete(scope);
    }
  }

  async #begin(
    name: string,
    body: InvokeBody,
    caller: Caller,
    idempotency: JobOrigin['idempotency'],
  ): Promise<Invoked> {
    const { ledger, jobs } = this.#options;
    const endpoint = ledger.registry.endpoint(name);
    if (!endpoint) throw notFound(namedKey('endpoint', name));
    const chosen = deploymentFor(ledger.registry, endpoint, body.deployment_name ?? null);
    const output = onlyPlace('output', body.outputs ?? null, body.output_path ?? null);
    const file = output?.type === 'uri_file' ? fileOf(output.path) : null;
    const overrides = file === null ? body.overrides : { ...body.overrides, output_file_name: file.name };
    const shadow = shadowFor(ledger.registry, endpoint, chosen, body);
    const deployment = besideShadow(overridden(chosen.deployment, overrides), shadow);
    const input = onlyPlace('input', body.inputs ?? null, body.input ?? null);
    if (input === null) {
      throw new BatchError(
        'REQUEST_INVALID',
        'the following arguments are required: --input (one input, a folder or a file)',
      );
    }
    const job = body.job_name ?? this.#newName(endpoint.name);
    const origin: JobOrigin = {
      ...{
        endpoint: endpoint.name,
        revision: chosen.revision,
        owner: caller.user,
        priority: body.priority,
        idempotency,
      },
      ...{ compute: body.compute ?? chosen.compute, displayName: body.display_name ?? null },
      ...{ experimentName: body.experiment_name ?? null, description: body.description ?? null },
      ...{ tags: body.tags, properties: body.properties },
      ...(body.require && { require: body.require }),
    };
    const request: JobRequest = {
      ...{ deployment, inputPath: input.path, selection: selectionFor(deployment.settings, body), name: job, origin },
      outputDir: file?.folder ?? output?.path ?? join(this.#options.stateDir, 'outputs', job, 'score'),
      ...{ isOverwrite: body.overwrite, since: body.since ?? null },
      ...(shadow && { shadow }),
    };
    return { job: await jobs.submit(request), isNew: true };
  }

  #newName(endpoint: string): string {
    const { ledger, clock, random } = this.#options;
    for (;;) {
      const name = newJobName(endpoint, clock.wall(), random);
      if (!ledger.jobs.has(name)) return name;
    }
  }

  #knownJob(scope: string): Job | undefined {
    const name = this.#byScope.get(scope);
    const job = name === undefined ? undefined : this.#options.ledger.jobs.get(name);
    if (job && scopeFrom(job.origin) === scope) return job;
    // A job that was removed took its key with it, and another one may have its name.
    this.#byScope.delete(scope);
    return undefined;
  }

  /** Made when it is first asked for: the ledger is whole then. */
  get #byScope(): Map<string, JobName> {
    if (this.#jobsByScope) return this.#jobsByScope;
    const found = new Map<string, JobName>();
    for (const { name, origin } of this.#options.ledger.jobs.values()) {
      const scope = scopeFrom(origin);
      if (scope !== null) found.set(scope, name);
    }
    return (this.#jobsByScope = found);
  }
}

/** Null of a job that came without a key. */
function scopeFrom({ endpoint, owner, idempotency }: JobOrigin): string | null {
  return idempotency && scopeOf(endpoint ?? '', owner, idempotency.key);
}

function scopeOf(endpoint: string, user: string, key: string): string {
  return JSON.stringify([endpoint.toLowerCase(), user, key]);
}

/**
 * The one that is named, else the endpoint's default, else the only one.
 * @source Azure ML batch endpoints, for the words of the refusals
 */
function deploymentFor(registry: Registry, endpoint: EndpointResource, named: string | null): DeploymentResource {
  const all = registry.deploymentsOf(endpoint.name).map(({ resource }) => resource);
  const there = all.map(({ name }) => name).join(', ');
  const wanted = named ?? endpoint.defaultDeployment;
  if (wanted !== null) {
    const found = registry.deployment(endpoint.name, wanted);
    if (found) return found;
    const message = `Deployment name ${wanted} not found for this endpoint: ${endpoint.name} has ${there || 'none'}`;
    throw new BatchError('RESOURCE_NOT_FOUND', message);
  }
  const [first, second] = all;
  if (first && !second) return first;
  const message = first
    ? `No valid deployments to route to: ${endpoint.name} has ${there} and no default; name one, or set defaults.deployment_name`
    : `No deployment exists for this endpoint: create one under ${endpoint.name} first`;
  throw new BatchError('RESOURCE_NOT_FOUND', message);
}

/** @throws RESOURCE_NOT_FOUND, REQUEST_INVALID */
function shadowFor(
  registry: Registry,
  endpoint: EndpointResource,
  chosen: DeploymentResource,
  { shadow: named, shadow_tolerance: tolerance = 0 }: InvokeBody,
): JobShadow | null {
  if (named === null || named === undefined) return null;
  const { deployment, name, revision } = deploymentFor(registry, endpoint, named);
  if (name !== chosen.name) return { deployment, revision, tolerance };
  const message = `${name} serves this invocation and cannot be its own shadow: name another deployment of ${endpoint.name} (two revisions of one are never there at a time; register the new one under a name of its own)`;
  throw new BatchError('REQUEST_INVALID', message);
}

/** Both are given the same files: they are shared out only where both read parts of them, and alike. @throws REQUEST_INVALID */
function besideShadow(deployment: Deployment, shadow: JobShadow | null): Deployment {
  if (shadow === null) return deployment;
  const { settings, scorer } = deployment;
  if (settings.outputAction === 'summary_only') {
    const message = `deployment ${deployment.name} has output_action: summary_only; there are no rows that a shadow could be compared with`;
    throw new BatchError('REQUEST_INVALID', message);
  }
  if (scorer.kind === shadow.deployment.scorer.kind && splitRule(shadow.deployment) !== null) return deployment;
  return { ...deployment, settings: { ...settings, splitFiles: { kind: 'off' } } };
}

/** A model deployment has one input and one output, under whatever name. */
function onlyPlace(
  what: 'input' | 'output',
  named: Readonly<Record<string, PlaceGiven>> | null,
  plain: string | null,
): PlaceGiven | null {
  const places = Object.values(named ?? {});
  if (plain !== null) places.push({ path: plain });
  if (places.length <= 1) return places[0] ?? null;
  const message = `a model deployment has one ${what}, ${places.length} are given: ${[...Object.keys(named ?? {}), ...(plain === null ? [] : [what])].join(', ')}`;
  throw new BatchError('REQUEST_INVALID', message);
}

/** @throws LOCATION_INVALID */
function fileOf(path: string): { readonly folder: string; readonly name: string } {
  const reference = /^(azureml:.*\/paths\/?.*)\/([^/]+)$/i.exec(path);
  if (reference) return { folder: reference[1] ?? '', name: reference[2] ?? '' };
  if (!isUri(path)) return { folder: dirname(path), name: basename(path) };
  const text = locationText(parseLocation(path));
  const [place = '', query = ''] = text.split(/(?=\?)/);
  const at = place.lastIndexOf('/');
  return { folder: place.slice(0, at) + query, name: decodeURIComponent(place.slice(at + 1)) };
}

function overridden(deployment: Deployment, overrides: Overrides): Deployment {
  const { settings } = deployment;
  const next: DeploymentSettings = {
    ...settings,
    miniBatchSize: overrides.mini_batch_size ?? settings.miniBatchSize,
    instanceCountMax: overrides.instance_count ?? settings.instanceCountMax,
    concurrencyPerInstanceMax: overrides.max_concurrency_per_instance ?? settings.concurrencyPerInstanceMax,
    triesMax: overrides.max_retries === undefined ? settings.triesMax : Math.max(1, overrides.max_retries),
    timeoutMs: overrides.timeout ?? settings.timeoutMs,
    errorThreshold: overrides.error_threshold ?? settings.errorThreshold,
    loggingLevel: overrides.logging_level ?? settings.loggingLevel,
    outputFileName: overrides.output_file_name ?? settings.outputFileName,
    environmentVariables: { ...settings.environmentVariables, ...overrides.environment_variables },
  };
  if (next.outputAction === 'summary_only' && overrides.output_file_name !== undefined) {
    const message = 'output_file_name has no meaning with output_action: summary_only; remove it';
    throw new BatchError('REQUEST_INVALID', message);
  }
  return { ...deployment, settings: next };
}

function selectionFor(settings: DeploymentSettings, body: InvokeBody): NonNullable<JobRequest['selection']> {
  const selection = selectionOf(settings);
  const { include, exclude, input_list: list, input_list_column: column } = body;
  return {
    ...selection,
    include: include ?? selection.include,
    exclude: exclude ?? selection.exclude,
    list: list ? { path: list, column, identity: null } : null,
  };
}

/** What was asked, whatever the order of its keys. */
function digestOf(endpoint: string, body: InvokeBody): Digest {
  const text = JSON.stringify([endpoint.toLowerCase(), sorted(body)]);
  return digest(`sha256:${createHash('sha256').update(text).digest('hex')}`);
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, sorted(one)]);
}

function requireSame(key: string, asked: Digest, before: Digest | undefined): void {
  if (asked === before) return;
  throw new BatchError(
    'IDEMPOTENCY_MISMATCH',
    `the Idempotency-Key ${JSON.stringify(key)} came with another request before; take a new key for this one`,
  );
}
