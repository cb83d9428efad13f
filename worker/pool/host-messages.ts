/** The JSON payloads that a scoring host sends, checked: it runs user code, so it is believed nothing. */
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { isErrorCode, type ErrorCode } from '../../common/core/error-codes.ts';
import type { HostDone, HostFailed, HostReady, HostReturned } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import type { ResultSchema } from '../../common/core/result.ts';

const count = z.number().int().nonnegative();
const code = z.string().transform((text): ErrorCode => (isErrorCode(text) ? text : 'INTERNAL'));
const message = z.string().transform((text) => text.slice(0, limits.failureMessageCharsMax));

const detail = z.string().transform((text) => text.slice(-limits.failureDetailCharsMax));

const readyShape = z.object({ pid: count, initSeconds: z.number().nonnegative(), queues: z.boolean().optional() });
const returnedShape = z.object({ sequence: count });

const schema = z
  .object({
    columns: z.array(z.string()),
    prologue: z.string(),
    prologueForm: z.literal('base64').optional(),
    features: z.array(z.string()).optional(),
  })
  .refine(({ prologue, prologueForm }) => prologueForm === undefined || isBase64(prologue), {
    message: 'prologue is not base64',
  })
  .transform(({ columns, prologue, prologueForm, features }): ResultSchema => ({
    ...{ columns, prologue },
    ...(prologueForm && { prologueForm }),
    ...(features && { features }),
  }));

/** As long as it says: the coordinator counts the bytes without reading them. */
const isBase64 = (text: string): boolean =>
  /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);

const doneShape = z.object({
  sequence: count,
  bytes: count,
  rows: count,
  attribution: z.enum(['file', 'positional', 'range']),
  fileRows: z.array(count).nullable(),
  failed: z.array(z.object({ index: count, code, message })),
  schema: schema.nullable(),
  runSeconds: z.number().nonnegative(),
  appended: z.array(z.string()).optional(),
  isFolderEmpty: z.boolean().optional(),
  callSize: count.positive().optional(),
});

const failedShape = z.object({
  sequence: count,
  code,
  message,
  detail,
  fileIndex: z.number().int().min(-1),
});

/** Throws FRAME_CORRUPT. */
export function parseReady(payload: Uint8Array): HostReady {
  return parse(readyShape, 'ready', payload);
}

/** Throws FRAME_CORRUPT. */
export function parseReturned(payload: Uint8Array): HostReturned {
  return parse(returnedShape, 'returned', payload);
}

/** Throws FRAME_CORRUPT. */
export function parseFailed(payload: Uint8Array): HostFailed {
  return parse(failedShape, 'failed', payload);
}

/** Also checks what the coordinator relies on: the numbers fit a mini-batch of `files` files. Throws FRAME_CORRUPT. */
export function parseDone(payload: Uint8Array, files: number): HostDone {
  const done = parsed(doneShape, isPlainDone, 'done', payload);
  const rowsOfFiles = done.fileRows?.reduce((sum, rows) => sum + rows, 0);
  if ((done.fileRows === null) !== (done.attribution === 'range')) {
    throw corrupt('done', `fileRows does not go with attribution ${done.attribution}`);
  }
  if (done.fileRows !== null && (done.fileRows.length !== files || rowsOfFiles !== done.rows)) {
    throw corrupt(
      'done',
      `fileRows has ${done.fileRows.length} files and ${rowsOfFiles} rows, not ${files} and ${done.rows}`,
    );
  }
  if (done.failed.some((failure) => failure.index >= files)) {
    throw corrupt('done', `it names a failed file that the mini-batch of ${files} does not have`);
  }
  return done;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** What nearly all answers are, told without the schema, which takes longer than a short mini-batch: no failed files, nothing unusual, no key of its own. */
function isPlainDone(value: unknown): value is HostDone {
  if (typeof value !== 'object' || value === null) return false;
  let known = 0;
  for (const [key, own] of Object.entries(value)) {
    if (!plainDone.get(key)?.(own)) return false;
    if (!plainOptional.has(key)) known += 1;
  }
  return known === plainDone.size - plainOptional.size;
}

const isText = (value: unknown): boolean => typeof value === 'string';

function isPlainSchema(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 2) return false;
  const { columns, prologue } = value as Readonly<Record<string, unknown>>;
  return Array.isArray(columns) && columns.every(isText) && isText(prologue);
}

const isNone = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

const plainDone: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['sequence', isCount],
  ['bytes', isCount],
  ['rows', isCount],
  ['attribution', (value) => value === 'file' || value === 'positional' || value === 'range'],
  ['fileRows', (value) => value === null || (Array.isArray(value) && value.every(isCount))],
  ['failed', isNone],
  ['schema', (value) => value === null || isPlainSchema(value)],
  ['runSeconds', (value) => Number.isFinite(value) && (value as number) >= 0],
  ['appended', isNone],
  ['isFolderEmpty', (value) => typeof value === 'boolean'],
]);
const plainOptional: ReadonlySet<string> = new Set(['appended', 'isFolderEmpty']);

function parse<T>(shape: z.ZodType<T>, name: string, payload: Uint8Array): T {
  return parsed(shape, null, name, payload);
}

/** `isPlain`: what is certain to be of the shape without being held against it; null: nothing is. */
function parsed<T>(
  shape: z.ZodType<T>,
  isPlain: ((value: unknown) => value is T) | null,
  name: string,
  payload: Uint8Array,
): T {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8'));
  } catch (error) {
    throw new BatchError('FRAME_CORRUPT', `a ${name} message of the scoring host is no JSON`, { cause: error });
  }
  if (isPlain?.(value)) return value;
  const held = shape.safeParse(value);
  if (!held.success) {
    const issue = held.error.issues[0];
    throw corrupt(name, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'of the wrong form'}`);
  }
  return held.data;
}

function corrupt(name: string, what: string): BatchError {
  return new BatchError('FRAME_CORRUPT', `a ${name} message of the scoring host is not valid: ${what}`);
}
