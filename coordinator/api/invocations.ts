/** Invoking an endpoint: what may be said, in one form for every door through which it comes. */
import * as z from 'zod';
import {
  miniBatchSize as writtenSize,
  oneOf,
  outputFileName,
  wholeNumber,
  textMap,
  timeoutMs,
} from '../../common/config/field-types.ts';
import { isInputText } from '../../common/config/input-location.ts';
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import { inputListColumnDefault } from '../../common/core/input-selection.ts';
import type { JobView } from './backend.ts';
import type { Caller } from './caller.ts';
import { absolutePath, jobNameText, patterns, priority, requiredLabels } from './job-request.ts';

/** Over what the deployment says, for one job. */
export interface Overrides {
  readonly mini_batch_size?: MiniBatchSize | undefined;
  readonly instance_count?: number | undefined;
  readonly max_concurrency_per_instance?: number | undefined;
  readonly max_retries?: number | undefined;
  /** Milliseconds. */
  readonly timeout?: number | undefined;
  readonly error_threshold?: number | undefined;
  readonly logging_level?: 'debug' | 'info' | 'warning' | undefined;
  readonly output_file_name?: string | undefined;
  readonly environment_variables?: Readonly<Record<string, string>> | undefined;
}

export interface PlaceGiven {
  readonly type?: 'uri_folder' | 'uri_file' | undefined;
  readonly path: string;
}

export interface InvokeBody {
  readonly deployment_name?: string | null | undefined;
  readonly input?: string | null | undefined;
  readonly input_type?: 'uri_folder' | 'uri_file' | null | undefined;
  readonly inputs?: Readonly<Record<string, PlaceGiven>> | null | undefined;
  readonly output_path?: string | null | undefined;
  readonly outputs?: Readonly<Record<string, PlaceGiven>> | null | undefined;
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly input_list?: string | null | undefined;
  readonly input_list_column: string;
  readonly overrides: Overrides;
  readonly overwrite: boolean;
  readonly since?: string | null | undefined;
  readonly shadow?: string | null | undefined;
  readonly shadow_tolerance?: number | undefined;
  readonly priority: number;
  readonly compute?: string | null | undefined;
  readonly require?: Readonly<Record<string, string>> | undefined;
  readonly job_name?: string | null | undefined;
  readonly display_name?: string | null | undefined;
  readonly experiment_name?: string | null | undefined;
  readonly description?: string | null | undefined;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
}

export interface Invoked {
  readonly job: JobView;
  /** False: the same request came before under the same key, and this is its job. */
  readonly isNew: boolean;
}

export interface Invocations {
  /**
   * Resolves once the job is durable. `idempotencyKey`: a request that comes again with it gets the job that is there.
   * @throws RESOURCE_NOT_FOUND, REQUEST_INVALID, IDEMPOTENCY_MISMATCH, and what submitting a job throws
   */
  invoke(endpoint: string, body: InvokeBody, caller: Caller, idempotencyKey: string | null): Promise<Invoked>;
}

const overrides: z.ZodType<Overrides> = z
  .strictObject({
    mini_batch_size: writtenSize.optional(),
    instance_count: wholeNumber(1).optional(),
    max_concurrency_per_instance: wholeNumber(1).optional(),
    max_retries: wholeNumber(0).optional().describe('tries in all, at least one'),
    timeout: timeoutMs.optional().describe('seconds of one run()'),
    error_threshold: wholeNumber(-1).optional(),
    logging_level: oneOf(['debug', 'info', 'warning'], {
      warn: 'warning',
      error: 'warning',
      critical: 'warning',
    }).optional(),
    output_file_name: outputFileName.optional(),
    environment_variables: textMap.optional().describe('added to those of the deployment'),
  })
  .meta({ id: 'Overrides' });

const placeText = z
  .string()
  .refine(isInputText, 'wanted a location, an absolute path, azureml:NAME:VERSION, or the digest of an upload');
const placeType = z.enum(['uri_folder', 'uri_file']);
const place: z.ZodType<PlaceGiven> = z
  .strictObject({ type: placeType.optional(), path: placeText })
  .meta({ id: 'PlaceGiven' });

export const invokeBody: z.ZodType<InvokeBody> = z
  .strictObject({
    deployment_name: z.string().nullish().describe("default: the endpoint's"),
    input: placeText.nullish(),
    input_type: placeType.nullish(),
    inputs: z.record(z.string(), place).nullish().describe('one, under any name'),
    output_path: placeText.nullish().describe('a folder; default: one of the job alone, on the coordinator'),
    outputs: z
      .record(z.string(), place)
      .nullish()
      .describe('one, under any name; a uri_file names the file of rows too'),
    include: patterns.optional(),
    exclude: patterns.optional(),
    input_list: absolutePath.nullish(),
    input_list_column: z.string().min(1).default(inputListColumnDefault),
    overrides: overrides.default({}),
    overwrite: z.boolean().default(false),
    since: z.string().min(1).nullish(),
    shadow: z
      .string()
      .min(1)
      .nullish()
      .describe('another deployment of the endpoint: scores the same files, and its rows are compared, not written'),
    shadow_tolerance: z
      .number()
      .min(0)
      .optional()
      .describe('default 0; numbers that are so close are the same: absolutely, or as a part of the larger one'),
    priority: priority.default(0),
    compute: z.string().min(1).nullish(),
    require: requiredLabels.optional(),
    job_name: jobNameText.nullish(),
    display_name: z.string().max(1_000).nullish(),
    experiment_name: z.string().max(1_000).nullish(),
    description: z.string().max(10_000).nullish(),
    tags: textMap.default({}),
    properties: textMap.default({}),
  })
  .meta({ id: 'Invocation' });
