/** The coordinator's HTTP API as functions. */
import type { z } from 'zod';
import { BatchError } from '../common/core/batch-error.ts';
import type { InputSelection } from '../common/core/input-selection.ts';
import { limits } from '../common/core/limits.ts';
import { parseJson } from '../common/core/parse-json.ts';
import { silenceAfter } from '../common/io/silence.ts';
import type {
  FileQuery,
  JobErrorsView,
  JobEvent,
  JobRequest,
  JobView,
  NodeView,
  PrintedView,
  PrunedView,
  PruneRequest,
  ReopenRequest,
} from '../coordinator/api/backend.ts';
import { EventReader } from './event-reader.ts';
import {
  jsonOf,
  openConnection,
  type OpenConnection,
  strangerError,
  unreachableError,
  type Answer,
  type Asked,
  type Connection,
  type Send,
} from './connection.ts';
import type { FilePart } from './fetch-file.ts';
import type { OutputFile } from './job-text.ts';
import type { Comparison } from '../coordinator/compare/compare-outputs.ts';
import {
  comparisonReply,
  errorsReply,
  eventReply,
  filesReply,
  jobReply,
  jobsReply,
  nodesReply,
  printedReply,
  problemReply,
  prunedReply,
} from './replies.ts';

export interface Client {
  submit(request: JobRequest): Promise<JobView>;
  list(): Promise<readonly JobView[]>;
  show(name: string): Promise<JobView>;
  cancel(name: string, graceMs: number): Promise<JobView>;
  pause(name: string): Promise<JobView>;
  resume(name: string, request: ReopenRequest): Promise<JobView>;
  retry(name: string, request: ReopenRequest): Promise<JobView>;
  prune(request: PruneRequest): Promise<readonly PrunedView[]>;
  nodes(): Promise<readonly NodeView[]>;
  /** Events after `afterSequence` until the job has ended. A connection that breaks ends it with COORDINATOR_UNREACHABLE. */
  events(name: string, afterSequence: number, signal: AbortSignal): AsyncIterable<JobEvent>;
  outputFiles(name: string): Promise<readonly OutputFile[]>;
  /** One of {@link outputFiles} from `offset` on while it is still what `tag` names, else all of it. */
  outputFile(name: string, path: string, offset: number, tag: string | null): Promise<FilePart>;
  /** `length` bytes of the file of rows from `offset` on, also while the job runs. */
  outputPart(name: string, path: string, offset: number, length: number): AsyncIterable<Uint8Array>;
  logFiles(name: string): Promise<readonly OutputFile[]>;
  /** At most `bytesMax` bytes of a log from `offset` on. */
  logFile(name: string, path: string, offset: number, bytesMax: number): AsyncIterable<Uint8Array>;
  printed(name: string, query: FileQuery): Promise<readonly PrintedView[]>;
  /** Kinds of errors from the `offset`th on, most files first. */
  errors(name: string, offset: number, limit: number): Promise<JobErrorsView>;
  /** Rows of two complete jobs. */
  compare(name: string, other: string, tolerance: number, examples: number): Promise<Comparison>;
}

/**
 * All functions throw COORDINATOR_UNREACHABLE, SERVER_UNTRUSTED, or the coordinator's own error by its code; those that `signal` has
 * ended, anything.
 */
export function createClient(connection: Connection): Client {
  return clientOf(openConnection(connection));
}

/** The same over a connection that others use as well; `signal` ends what is asked here alone. */
export function clientOf({ origin, send: plain }: OpenConnection, signal?: AbortSignal): Client {
  const send: Send = signal ? async (url, asked = {}) => await plain(url, { signal, ...asked }) : plain;
  const job = (name: string, rest = ''): string => `${origin}/v1/jobs/${encodeURIComponent(name)}${rest}`;
  const get = async <T>(url: string, schema: z.ZodType<T>): Promise<T> => await readReply(await send(url), schema);
  const act = async (name: string, verb: string, body: unknown): Promise<JobView> =>
    await readReply(await send(job(name, verb), post(body)), jobReply);
  return {
    submit: async (request) => await readReply(await send(`${origin}/v1/jobs`, post(wireRequest(request))), jobReply),
    list: async () => await everyPage((cursor) => get(`${origin}/v1/jobs?limit=1000${cursor}`, jobsReply)),
    show: async (name) => await get(job(name), jobReply),
    cancel: async (name, graceMs) => await act(name, '/cancel', { grace_seconds: graceMs / 1_000 }),
    pause: async (name) => await act(name, '/pause', {}),
    resume: async (name, request) => await act(name, '/resume', wireReopen(request)),
    retry: async (name, request) => await act(name, '/retry', { ...wireReopen(request), failed_only: true }),
    prune: async (request) =>
      (await readReply(await send(`${origin}/v1/jobs/prune`, post(wirePrune(request))), prunedReply)).value,
    nodes: async () => (await get(`${origin}/v1/nodes`, nodesReply)).value,
    events: (name, after, until) => events(send, job(name, `/events?after=${after}`), until),
    outputFiles: async (name) => (await get(job(name, '/output'), filesReply)).value,
    outputFile: async (name, path, offset, tag) => {
      const parts = path.split('/').map(encodeURIComponent);
      const headers = offset === 0 ? {} : { range: `bytes=${offset}-`, ...(tag === null ? {} : { 'if-range': tag }) };
      return partOf(await send(job(name, `/output/${parts.join('/')}`), { headers }), offset);
    },
    outputPart: (name, path, offset, length) => {
      const headers = { range: `bytes=${offset}-${offset + length - 1}` };
      return bytes(send, job(name, `/output/${encodeURIComponent(path)}`), { headers });
    },
    logFiles: async (name) => (await get(job(name, '/logs'), filesReply)).value,
    logFile: (name, path, offset, bytesMax) => {
      const parts = path.split('/').map(encodeURIComponent);
      return bytes(send, job(name, `/logs/${parts.join('/')}?offset=${offset}&length=${bytesMax}`));
    },
    printed: async (name, query) => {
      const asked = 'file' in query ? `file=${encodeURIComponent(query.file)}` : `first=${query.first}`;
      return (await get(job(name, `/printed?${asked}`), printedReply)).value;
    },
    compare: async (name, other, tolerance, examples) =>
      await get(
        job(name, `/compare/${encodeURIComponent(other)}?tolerance=${tolerance}&examples=${examples}`),
        comparisonReply,
      ),
    errors: async (name, offset, limit) => await get(job(name, `/errors?offset=${offset}&limit=${limit}`), errorsReply),
  };
}

/** Asks on until there is no next page. */
async function everyPage<T>(
  ask: (cursor: string) => Promise<{ readonly value: readonly T[]; readonly next: string | null }>,
): Promise<readonly T[]> {
  const all: T[] = [];
  for (let cursor = ''; ;) {
    const { value, next } = await ask(cursor);
    all.push(...value);
    if (next === null) return all;
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
}

function post(body: unknown): Asked {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

function wireRequest(request: JobRequest): unknown {
  return {
    deployment: request.deployment,
    input_path: request.inputPath,
    ...(request.selection && wireSelection(request.selection)),
    output_path: request.outputDir,
    overwrite: request.isOverwrite,
    since: request.since,
    name: request.name,
    ...(request.origin && {
      priority: request.origin.priority,
      compute: request.origin.compute,
      require: request.origin.require,
    }),
  };
}

function wireSelection({ include, exclude, list }: InputSelection): Readonly<Record<string, unknown>> {
  return { include, exclude, ...(list && { input_list: list.path, input_list_column: list.column }) };
}

/** What is not said stays as it was. */
function wireReopen(request: ReopenRequest): Readonly<Record<string, unknown>> {
  const body = {
    deployment: request.deployment,
    mini_batch_size: request.miniBatchSize,
    timeout_seconds: request.timeoutMs === null ? null : request.timeoutMs / 1_000,
    max_retries: request.triesMax,
    error_threshold: request.errorThreshold,
    instance_count: request.instanceCountMax,
    slots_per_node: request.concurrencyPerInstanceMax,
  };
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

function wirePrune(request: PruneRequest): unknown {
  return {
    names: request.names,
    ...(request.olderThanMs === null ? {} : { older_than_seconds: request.olderThanMs / 1_000 }),
    ...(request.states === null ? {} : { states: request.states }),
    dry_run: request.isDryRun,
    output: request.withOutput,
  };
}

async function readReply<T>(reply: Answer, schema: z.ZodType<T>): Promise<T> {
  const parsed = schema.safeParse(await jsonOf(reply));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw strangerError(reply.url, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

async function* events(send: Send, url: string, until: AbortSignal): AsyncGenerator<JobEvent, void, undefined> {
  const silence = silenceAfter(eventSilenceMsMax, until);
  const { signal } = silence;
  try {
    const reply = await send(url, { signal, headers: { accept: 'text/event-stream' } });
    const reader = new EventReader();
    const decoder = new TextDecoder();
    for await (const chunk of chunksOf(reply, until)) {
      silence.heard();
      for (const event of reader.push(decoder.decode(chunk, { stream: true }))) {
        if (event.event === 'end') return;
        if (event.event === 'error') throw streamError(url, event.data);
        const parsed = eventReply.safeParse(parseJson(event.data));
        if (!parsed.success) throw strangerError(url, 'an event is not of the expected form');
        yield parsed.data;
      }
    }
    if (!until.aborted) throw unreachableError(url, new Error('the connection ended'));
  } catch (error) {
    const isSilence = signal.aborted && !until.aborted && !(error instanceof BatchError);
    throw isSilence ? unreachableError(url, error) : error;
  } finally {
    silence.close();
  }
}

/** The coordinator says that it is alive all the while. */
const eventSilenceMsMax = 3 * limits.apiKeepAliveMs;

async function* bytes(send: Send, url: string, asked: Asked = {}): AsyncGenerator<Uint8Array, void, undefined> {
  yield* chunksOf(await send(url, asked), null);
}

/** What came where the bytes from `asked` on were wanted. @source RFC 9110, partial content */
function partOf(reply: Answer, asked: number): FilePart {
  const range = reply.headers.get('content-range') ?? '';
  const [, start = '0', total = reply.headers.get('content-length')] = /^bytes (\d+)-\d+\/(\d+)$/.exec(range) ?? [];
  const offset = Number(start);
  if (offset !== 0 && offset !== asked) {
    throw strangerError(reply.url, `asked for bytes from ${asked} on it sends those from ${offset} on`);
  }
  const totalBytes = total === null ? null : Number(total);
  return { offset, totalBytes, tag: reply.headers.get('etag'), bytes: chunksOf(reply, null) };
}

/** Pieces of the body; what breaks on the way is COORDINATOR_UNREACHABLE. */
async function* chunksOf(reply: Answer, signal: AbortSignal | null): AsyncGenerator<Uint8Array, void, undefined> {
  if (reply.body === null) return;
  try {
    yield* reply.body;
  } catch (error) {
    if (!signal?.aborted) throw unreachableError(reply.url, error);
  }
}

function streamError(url: string, data: string): BatchError {
  const problem = problemReply.safeParse(parseJson(data));
  if (!problem.success) return strangerError(url, 'an error is not of the expected form');
  return BatchError.fromFailure({ ...problem.data, message: problem.data.detail, detail: problem.data.info ?? '' });
}
