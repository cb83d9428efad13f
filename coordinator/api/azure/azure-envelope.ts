/**
 * Jobs and errors as Azure's data plane answers them. Pure.
 * @source Azure ML batch endpoints, REST data plane: BatchJobResource; ARM's error envelope
 */
import * as z from 'zod';
import type { BatchError } from '../../../common/core/batch-error.ts';
import { isFinal, type JobState } from '../../../common/core/states.ts';
import type { JobView } from '../backend.ts';

export interface AzureJob {
  /** Its last part is the job's name: clients ask for `{scoring_uri}/{last part}`. */
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly systemData: {
    readonly createdAt: string;
    readonly createdBy: string;
    readonly createdByType: 'User';
    readonly lastModifiedAt: string;
  };
  readonly properties: {
    readonly status: JobState;
    readonly provisioningState: 'InProgress' | 'Succeeded' | 'Failed' | 'Canceled';
    readonly name: string;
    readonly displayName: string;
    readonly experimentName: string;
    readonly description: string | null;
    readonly deployment: string;
    readonly compute: string | null;
    readonly inputData: Readonly<Record<string, { readonly jobInputType: string; readonly uri: string }>>;
    readonly outputData: Readonly<Record<string, { readonly jobOutputType: string; readonly uri: string }>>;
    readonly outputFileName: string | null;
    readonly tags: Readonly<Record<string, string>>;
    readonly properties: Readonly<Record<string, string>>;
    readonly startTime: string | null;
    readonly endTime: string | null;
    readonly interactionEndpoints: Readonly<
      Record<
        'Studio' | 'Tracking',
        { readonly endpoint: string; readonly status: string; readonly jobEndpointType: string }
      >
    >;
    readonly error: { readonly code: string; readonly message: string } | null;
  };
}

export interface AzureError {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly details: readonly { readonly code: string; readonly message: string }[];
  };
}

const text = z.string();
const texts = z.record(text, text);
const interaction = z.object({ endpoint: text, status: text, jobEndpointType: text }).meta({ id: 'AzureInteraction' });

export const azureJobSchema: z.ZodType<AzureJob> = z
  .object({
    id: text,
    name: text,
    type: text,
    systemData: z
      .object({ createdAt: text, createdBy: text, createdByType: z.literal('User'), lastModifiedAt: text })
      .meta({ id: 'AzureSystemData' }),
    properties: z
      .object({
        status: text as unknown as z.ZodType<JobState>,
        provisioningState: z.enum(['InProgress', 'Succeeded', 'Failed', 'Canceled']),
        name: text,
        displayName: text,
        experimentName: text,
        description: text.nullable(),
        deployment: text,
        compute: text.nullable(),
        inputData: z.record(text, z.object({ jobInputType: text, uri: text })),
        outputData: z.record(text, z.object({ jobOutputType: text, uri: text })),
        outputFileName: text.nullable(),
        tags: texts,
        properties: texts,
        startTime: text.nullable(),
        endTime: text.nullable(),
        interactionEndpoints: z.object({ Studio: interaction, Tracking: interaction }),
        error: z.object({ code: text, message: text }).nullable(),
      })
      .meta({ id: 'AzureJobProperties' }),
  })
  .meta({ id: 'AzureJob' });

export const azureErrorSchema: z.ZodType<AzureError> = z
  .object({
    error: z.object({
      code: text,
      message: text,
      details: z.array(z.object({ code: text, message: text })).readonly(),
    }),
  })
  .meta({ id: 'AzureError' });

/** `origin`: of the request, so that what is answered can be asked for. */
export function azureJob(job: JobView, origin: string): AzureJob {
  const { created_at: createdAt, created_by: createdBy } = job.creation_context;
  const place = (path: string): string => (path.startsWith('/v1/') ? `${origin}${path}` : path);
  const interaction = (kind: 'Studio' | 'Tracking'): AzureJob['properties']['interactionEndpoints']['Studio'] => ({
    ...{ endpoint: place(job.services[kind].endpoint), status: 'Running', jobEndpointType: kind },
  });
  return {
    id: `/azure/endpoints/${encodeURIComponent(job.endpoint ?? '')}/jobs/${encodeURIComponent(job.name)}`,
    name: job.name,
    type: 'Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs',
    systemData: {
      ...{ createdAt, createdBy, createdByType: 'User' },
      lastModifiedAt: job.ended_at ?? job.started_at ?? job.created_at,
    },
    properties: {
      status: job.status,
      provisioningState: provisioningState(job.status),
      name: job.name,
      displayName: job.display_name,
      experimentName: job.experiment_name,
      description: job.description,
      deployment: job.deployment,
      compute: job.compute,
      inputData: mapped(job.inputs, ({ type, path }) => ({ jobInputType: azureType(type), uri: path })),
      outputData: mapped(job.outputs, ({ type, path }) => ({ jobOutputType: azureType(type), uri: path })),
      outputFileName: job.output_file === null ? null : job.output_file.slice(job.output_file.lastIndexOf('/') + 1),
      tags: job.tags,
      properties: job.properties,
      startTime: job.started_at,
      endTime: job.ended_at,
      interactionEndpoints: { Studio: interaction('Studio'), Tracking: interaction('Tracking') },
      error: job.error && { code: job.error.code, message: job.error.message },
    },
  };
}

function provisioningState(status: JobState): AzureJob['properties']['provisioningState'] {
  if (!isFinal(status)) return 'InProgress';
  return status === 'Completed' ? 'Succeeded' : status;
}

function azureType(type: string): string {
  return type === 'uri_file' ? 'UriFile' : 'UriFolder';
}

function mapped<A, B>(from: Readonly<Record<string, A>>, change: (one: A) => B): Readonly<Record<string, B>> {
  return Object.fromEntries(Object.entries(from).map(([name, one]) => [name, change(one)]));
}

/** Azure's word for each status; what it has none for counts as one of its hundred. */
const words: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  408: 'RequestTimeout',
  409: 'Conflict',
  412: 'PreconditionFailed',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'UserError',
  424: 'FailedDependency',
  429: 'TooManyRequests',
  503: 'ServiceUnavailable',
};

/** `details` has our own code, by which to find it in docs/errors.md, and a line for each field that was wrong. */
export function azureError(error: BatchError, status: number): AzureError {
  const lines = error.message.split('\n').filter((line) => line.trim() !== '');
  return {
    error: {
      code: words[status] ?? (status < 500 ? 'BadRequest' : 'InternalServerError'),
      message: error.message,
      details: lines.map((message) => ({ code: error.code, message })),
    },
  };
}
