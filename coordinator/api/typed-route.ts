/**
 * How a route is declared: parameters, query, body and replies as zod schemas, from which requests are checked and
 * the OpenAPI document is made.
 *
 * ```ts
 * typed(server).get(
 *   '/v1/nodes/:name',
 *   { schema: { ...about('getNode', 'nodes', 'One worker node'), params: named, response: answers({ 200: nodeView }) } },
 *   async ({ params }) => backend.node(params.name),
 * );
 * ```
 *
 * Requests are parsed (defaults and transforms are applied) before a handler runs; replies go out as the handler made them.
 */
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { problemSchema, type Problem } from './problem.ts';

export type TypedApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export function typed(app: FastifyInstance): TypedApp {
  return app.withTypeProvider<ZodTypeProvider>();
}

/** Groups of routes, each with what it is for. */
export const apiTags = {
  jobs: 'Invocations of a deployment over one input: submit, watch, end, go on',
  output: 'Rows and files that a job makes',
  logs: 'What scoring processes printed and what went wrong',
  nodes: 'Worker nodes',
  assets: 'Models, data and environments by name and version, and uploads',
  endpoints: 'Endpoints and deployments, and invoking them',
  admin: 'Tokens, computes, datastores, schedules',
  azure: 'The data plane of Azure ML batch endpoints, as its clients speak it',
  server: 'The coordinator itself',
} as const;
export type ApiTag = keyof typeof apiTags;

export interface About {
  /** Name of the function in generated clients: `listJobs`. Unique. */
  readonly operationId: string;
  readonly tags: readonly ApiTag[];
  readonly summary: string;
  readonly description?: string;
}

export function about(operationId: string, tag: ApiTag, summary: string, description?: string): About {
  return { operationId, tags: [tag], summary, ...(description === undefined ? {} : { description }) };
}

interface ProblemAnswer {
  readonly description: string;
  readonly content: { readonly 'application/problem+json': { readonly schema: z.ZodType<Problem> } };
}
const problemAnswer: ProblemAnswer = {
  description: 'Problem details',
  content: { 'application/problem+json': { schema: problemSchema } },
};

/** Replies by status, and problem details for every other one. */
export function answers<T extends Readonly<Record<number, unknown>>>(
  replies: T,
): T & { readonly default: ProblemAnswer } {
  return { ...replies, default: problemAnswer };
}

/** A reply of bytes: what a handler sends is not looked at. `types`: its content types. */
export function bytesAnswer(description: string, ...types: readonly string[]): BytesAnswer {
  const schema = z.unknown().meta({ type: 'string', format: 'binary' });
  return { description, content: Object.fromEntries(types.map((type) => [type, { schema }])) };
}
export interface BytesAnswer {
  readonly description: string;
  readonly content: Readonly<Record<string, { readonly schema: z.ZodUnknown }>>;
}

/** `{ "value": [...] }` */
export function listOf<T extends z.ZodType>(item: T): z.ZodObject<{ value: z.ZodReadonly<z.ZodArray<T>> }> {
  return z.object({ value: z.array(item).readonly() });
}

/** `{ "value": [...], "next": cursor or null }` */
export function pageOf<T extends z.ZodType>(
  item: T,
): z.ZodObject<{ value: z.ZodReadonly<z.ZodArray<T>>; next: z.ZodNullable<z.ZodString> }> {
  return z.object({
    value: z.array(item).readonly(),
    next: z.string().nullable().describe('cursor of the next page; null after the last one'),
  });
}

/** `{name}` in a path. */
export const named: z.ZodObject<{ name: z.ZodString }> = z.object({ name: z.string() });

/** The same, and a path behind it. */
export const namedPath: z.ZodObject<{ name: z.ZodString; '*': z.ZodString }> = z.object({
  name: z.string(),
  '*': z.string().describe('relative path, with or without its slashes escaped'),
});

/** Of a POST that takes no word. */
export const emptyBody: z.ZodType<Record<string, never>> = z.strictObject({});

export interface WholeNumberOptions {
  readonly max: number;
  /** Default: 0. */
  readonly min?: number;
  /** Says what was wanted and found. */
  readonly error?: (found: { readonly input?: unknown }) => string;
}

/** In a query or a header, where all is text. */
export function wholeNumber(options: WholeNumberOptions): z.ZodType<number> {
  const { max, min = 0 } = options;
  const error =
    options.error ??
    (({ input }: { readonly input?: unknown }): string =>
      `wanted a whole number from ${min} to ${max}, found ${JSON.stringify(input)}`);
  const parse = (text: unknown): unknown => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text);
  return z.preprocess(parse, z.int({ error }).min(min, { error }).max(max, { error }));
}

/** Where a page begins, as the one before it said. */
export const cursorText: z.ZodType<number> = z
  .preprocess(
    (text) => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text),
    z.number({ error: 'wanted the `next` of an earlier page' }),
  )
  .meta({ type: 'string', description: '`next` of the page before' });

/** In a query. */
export const flag: z.ZodType<boolean> = z.preprocess(
  (text) => (text === 'true' ? true : text === 'false' ? false : text),
  z.boolean({ error: 'wanted true or false' }),
);

/** What a schema found wrong, a line for each field; `whole`: what stands where the path is empty. */
export function invalidError(found: z.ZodError, prefix: string, whole: string): BatchError {
  const lines = found.issues.map((issue) => {
    const path = [...(prefix === '' ? [] : [prefix]), ...issue.path.map(String)].join('.');
    return `${path === '' ? whole : path}: ${issue.message}`;
  });
  return new BatchError('REQUEST_INVALID', lines.join('\n'));
}
