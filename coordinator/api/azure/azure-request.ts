/**
 * The body of Azure's POST {scoring_uri} as the body of our POST /v1/endpoints/{e}/jobs. Pure.
 * @source Azure ML batch endpoints, REST data plane: BatchJob, and the older BatchJobResource with `dataset`
 */
import { BatchError } from '../../../common/core/batch-error.ts';
import { Fields, folded, invalid } from './lenient-json.ts';

export type DataType = 'uri_folder' | 'uri_file';
export interface DataPlace {
  readonly type: DataType;
  readonly path: string;
}

/** As our own route takes it; what is absent is as the deployment says. */
export interface AzureInvocation {
  readonly deployment_name?: string;
  readonly inputs: Readonly<Record<string, DataPlace>>;
  readonly outputs?: Readonly<Record<string, DataPlace>>;
  readonly overrides?: AzureOverrides;
  readonly job_name?: string;
  readonly display_name?: string;
  readonly experiment_name?: string;
  readonly description?: string;
  readonly compute?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly properties?: Readonly<Record<string, string>>;
}

export interface AzureOverrides {
  readonly mini_batch_size?: number | string;
  readonly instance_count?: number;
  readonly max_concurrency_per_instance?: number;
  readonly max_retries?: number;
  /** Seconds. */
  readonly timeout?: number;
  readonly error_threshold?: number;
  readonly logging_level?: string;
  readonly output_file_name?: string;
  readonly environment_variables?: Readonly<Record<string, string>>;
}

/** Clients send back what they were given; nothing of it says what to do. */
const answered = ['status', 'provisioningState', 'interactionEndpoints', 'deployment', 'error', 'startTime', 'endTime'];
const known = [
  ...['inputData', 'outputData', 'dataset', 'outputDataset', 'output', 'outputFileName', 'miniBatchSize', 'compute'],
  ...['instanceCount', 'resources', 'maxConcurrencyPerInstance', 'retrySettings', 'maxRetries', 'timeout'],
  ...['errorThreshold', 'loggingLevel', 'environmentVariables', 'partitionKeys', 'name', 'jobName', 'displayName'],
  ...['experimentName', 'description', 'tags', 'properties'],
];

/** `header`: of azureml-model-deployment. @throws REQUEST_INVALID naming the field as it was written */
export function invocationOf(body: unknown, header: string | undefined): AzureInvocation {
  const properties = Fields.of(body, 'the body').object('properties');
  properties.refuseOthers(...known, ...answered);
  const keys = properties.get('partitionKeys');
  if (Array.isArray(keys) && keys.length > 0) {
    throw new BatchError('REQUEST_INVALID', 'partitionKeys: nothing here shares out by columns; leave it out');
  }
  const more = properties.object('properties');
  const experiment = properties.text('experimentName') ?? more.text('experimentName');
  const rest = Object.entries(properties.texts('properties')).filter(([name]) => folded(name) !== 'experimentname');
  const outputs = outputsOf(properties);
  const overrides = defined(overridesOf(properties));
  return {
    inputs: inputsOf(properties),
    ...defined({
      deployment_name: header === '' ? undefined : header,
      outputs,
      overrides: Object.keys(overrides).length > 0 ? overrides : undefined,
      job_name: properties.text('jobName') ?? properties.text('name'),
      display_name: properties.text('displayName'),
      experiment_name: experiment,
      description: properties.text('description'),
      compute: computeOf(properties),
      tags: properties.has('tags') ? properties.texts('tags') : undefined,
      properties: rest.length > 0 ? Object.fromEntries(rest) : undefined,
    }),
  };
}

function inputsOf(properties: Fields): AzureInvocation['inputs'] {
  const given = properties.entries('inputData');
  if (given.length === 0 && properties.has('dataset')) return { input: datasetOf(properties.object('dataset')) };
  const inputs = given.map(([name, value]) => [name, inputOf(Fields.of(value, `inputData.${name}`))] as const);
  if (inputs.length === 1) return Object.fromEntries(inputs);
  const found = inputs.length === 0 ? 'none' : inputs.map(([name]) => name).join(', ');
  throw new BatchError('REQUEST_INVALID', `inputData: wanted exactly one input of data, found ${found}`);
}

function inputOf(input: Fields): DataPlace {
  input.refuseOthers('jobInputType', 'uri', 'value', 'mode', 'description');
  const kind = folded(input.text('jobInputType') ?? 'UriFolder');
  if (kind === 'literal') {
    const text = `${input.path}: literals are inputs of pipelines; a model takes UriFolder or UriFile`;
    throw new BatchError('REQUEST_INVALID', text);
  }
  return { type: dataType(kind, `${input.path}.jobInputType`), path: required(input, 'uri') };
}

/** The older form, which scripts still send. */
function datasetOf(dataset: Fields): DataPlace {
  dataset.refuseOthers('dataInputType', 'path', 'datasetId', 'datasetName', 'datasetVersion');
  const kind = folded(dataset.text('dataInputType') ?? 'DataUrl');
  if (kind === 'dataurl') return { type: 'uri_folder', path: required(dataset, 'path') };
  if (kind === 'datasetid') return { type: 'uri_folder', path: required(dataset, 'datasetId') };
  if (kind === 'datasetversion') {
    const name = required(dataset, 'datasetName');
    return { type: 'uri_folder', path: `azureml:${name}:${required(dataset, 'datasetVersion')}` };
  }
  throw invalid(`${dataset.path}.dataInputType`, 'DataUrl, DatasetId or DatasetVersion', dataset.get('dataInputType'));
}

function outputsOf(properties: Fields): AzureInvocation['outputs'] {
  const outputs = properties.entries('outputData').map(([name, value]) => {
    const output = Fields.of(value, `outputData.${name}`);
    output.refuseOthers('jobOutputType', 'uri', 'mode', 'description');
    const type = dataType(folded(output.text('jobOutputType') ?? 'UriFolder'), `${output.path}.jobOutputType`);
    return [name, { type, path: required(output, 'uri') }] as const;
  });
  if (outputs.length > 1) {
    const names = outputs.map(([name]) => name).join(', ');
    throw new BatchError('REQUEST_INVALID', `outputData: wanted at most one output, found ${names}`);
  }
  if (outputs.length === 1) return Object.fromEntries(outputs);
  const dataset = properties.object(properties.has('outputDataset') ? 'outputDataset' : 'output');
  if (!dataset.has('datastoreId')) return undefined;
  const store = required(dataset, 'datastoreId').replace(/\/+$/, '');
  const name = store.slice(Math.max(store.lastIndexOf('/'), store.lastIndexOf(':')) + 1);
  const path = (dataset.text('path') ?? '').replace(/^\/+/, '');
  return { score: { type: 'uri_folder', path: `azureml://datastores/${name}/paths/${path}` } };
}

function overridesOf(properties: Fields): { readonly [K in keyof AzureOverrides]: AzureOverrides[K] | undefined } {
  const compute = typeof properties.get('compute') === 'object' ? properties.object('compute') : null;
  const retry = properties.object('retrySettings');
  return {
    mini_batch_size: sizeOf(properties),
    instance_count:
      compute?.whole('instanceCount') ??
      properties.object('resources').whole('instanceCount') ??
      properties.whole('instanceCount'),
    max_concurrency_per_instance: properties.whole('maxConcurrencyPerInstance'),
    max_retries: retry.whole('maxRetries') ?? properties.whole('maxRetries'),
    timeout: secondsOf(retry) ?? secondsOf(properties),
    error_threshold: properties.whole('errorThreshold'),
    logging_level: properties.text('loggingLevel')?.toLowerCase(),
    output_file_name: properties.text('outputFileName'),
    environment_variables: properties.has('environmentVariables')
      ? properties.texts('environmentVariables')
      : undefined,
  };
}

/** Files, as Azure has it, or what our own files may say: `64MB`, `30s`, `auto`. */
function sizeOf(properties: Fields): number | string | undefined {
  const text = properties.text('miniBatchSize');
  return text === undefined || /^\s*-?\d{1,15}\s*$/.test(text) ? properties.whole('miniBatchSize') : text;
}

/** `PT1M30S`, or a number of seconds. @source ISO 8601 durations, without the parts that have no fixed length */
function secondsOf(fields: Fields): number | undefined {
  const text = fields.text('timeout');
  if (text === undefined || /^\s*\d+\s*$/.test(text)) return fields.whole('timeout');
  const found = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/i.exec(text.trim());
  const [days, hours, minutes, seconds] = (found?.slice(1) ?? []).map((part) => Number(part ?? 0));
  const all = (days ?? 0) * 86_400 + (hours ?? 0) * 3_600 + (minutes ?? 0) * 60 + (seconds ?? 0);
  if (found && all > 0) return all;
  throw invalid(`${fields.path}.timeout`, 'a duration such as PT30S, or seconds', text);
}

/** The name of a compute, or its long form; an object says how many instances instead. */
function computeOf(properties: Fields): string | undefined {
  const compute = properties.get('compute');
  if (compute === undefined || typeof compute === 'object') {
    const target = compute === undefined ? undefined : properties.object('compute').text('target');
    return target === undefined ? undefined : lastOf(target);
  }
  return lastOf(properties.text('compute') ?? '');
}

function lastOf(name: string): string {
  return name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf(':')) + 1);
}

function dataType(kind: string, path: string): DataType {
  if (kind === 'urifolder') return 'uri_folder';
  if (kind === 'urifile') return 'uri_file';
  throw invalid(path, 'UriFolder or UriFile', kind);
}

function required(fields: Fields, name: string): string {
  const text = fields.text(name);
  if (text !== undefined && text.trim() !== '') return text.trim();
  throw invalid(`${fields.path}.${name}`, 'a text', text);
}

type Defined<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}
