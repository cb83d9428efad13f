/**
 * Shapes of a sealed output folder for whoever reads one: `_manifest.json`, and the lines of the files beside it. Fields that a
 * newer release adds pass through unseen; those of format 2 are absent in format 1.
 */
import * as z from 'zod';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { jobStates } from '../../common/core/states.ts';
import type {
  CustomFileLine,
  ErrorLine,
  FileLine,
  SealedChunk,
  SealedOutput,
  SealedTotals,
  SegmentLine,
} from './sealed-lines.ts';

const count = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const code = z.string().regex(/^[A-Z][A-Z0-9_]*$/);
const text = z.string();
const token = z.string().regex(/^\d+\.\d+$/);
const time = z.iso.datetime();

const sealedFile = { path: text, bytes: count, sha256 };
const file = z.looseObject(sealedFile);
const chunk = z.looseObject({ ...sealedFile, lines: count });
const artifact = z.looseObject({ kind: z.enum(['file', 'folder']), name: text, digest: text, bytes: count }).nullable();

export const customLineSchema: z.ZodType<CustomFileLine> = z.looseObject({
  ...sealedFile,
  mini_batches: count,
  wanted_path: text.optional(),
  rows: count.optional(),
});

const part = z.tuple([count, count]);

export const fileLineSchema: z.ZodType<FileLine> = z.looseObject({
  ordinal: count,
  path: text,
  size_bytes: count,
  part: part.optional(),
  identity: text,
  status: z.enum(['scored', 'failed', 'unscored']),
  taken: z.boolean().optional(),
  rows: count.nullable(),
  mini_batch: z.tuple([count, z.int().min(1)]).nullable(),
  attempt: token.nullable(),
  attempts: count.optional(),
  node: text.nullable(),
  code: (code as unknown as z.ZodType<ErrorCode>).nullable(),
});

export const errorLineSchema: z.ZodType<ErrorLine> = z.looseObject({
  ordinal: count,
  path: text,
  part: part.optional(),
  code: code as unknown as z.ZodType<ErrorCode>,
  message: text,
  detail: text,
  tries: count,
  node: text.nullable(),
  run_seconds: z.number().min(0).nullable(),
  peak_memory_bytes: count.nullable(),
  host_exit: text.nullable(),
});

export const segmentLineSchema: z.ZodType<SegmentLine> = z.looseObject({
  offset: count,
  bytes: count,
  crc32: z.string().regex(/^[0-9a-f]{8}$/),
  first: count,
  files: count,
  rows: count,
  mini_batches: count,
});

const signedBy = z.looseObject({
  key_id: text,
  jwk: z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: z.string().regex(/^[\w-]{43}$/) }),
});

/** A manifest as it was read; what format 1 had not is optional. */
export interface Manifest extends Omit<SealedOutput, 'segments' | 'totals'> {
  readonly name: string;
  /** Release that sealed it. */
  readonly batchmill: string;
  readonly deployment: {
    readonly name: string;
    readonly scorer: { readonly kind: string };
    readonly model: SealedArtifact | null;
    readonly code: SealedArtifact | null;
    readonly environment?: SealedEnvironment | undefined;
  };
  /** Digest of all that rows depend on beside their file. Absent before format 3, as is all that is said of earlier outputs. */
  readonly scored_with?: string | undefined;
  /** `name:type` of each column of the rows; null for rows without columns, and without rows. */
  readonly columns?: readonly string[] | null | undefined;
  /** The earlier output from which rows were taken; null: from none. */
  readonly since?: SealedSince | null | undefined;
  /** What another deployment would have said of the same files; null: none was asked. Absent in older releases. */
  readonly shadow?: SealedShadow | null | undefined;
  /** Endpoint that was invoked and the deployment's revision under it, null without one; who asked. Absent in older releases. */
  readonly origin?:
    { readonly endpoint: string | null; readonly revision: number | null; readonly owner: string } | undefined;
  readonly settings: {
    readonly outputAction: 'append_row' | 'summary_only';
    readonly outputFileName: string;
    readonly outputFormat?: string | undefined;
    readonly parts?: unknown;
  };
  readonly input_path: string;
  readonly input_selection?: { readonly list?: unknown } | undefined;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly ended_at: string;
  readonly counts: {
    readonly files: {
      readonly total: number;
      readonly scored: number;
      readonly failed: number;
      readonly skipped: number;
    };
    readonly mini_batches: number;
    readonly rows: number;
  };
  readonly error: { readonly code: string; readonly message: string; readonly detail: string } | null;
  readonly segments?: readonly SealedChunk[] | undefined;
  readonly totals?: SealedTotals | undefined;
}

/** `reason`: why nothing was taken after all; null: what was the same. */
export interface SealedSince {
  readonly job: string;
  readonly output_path: string;
  readonly reason: string | null;
}

/** Counts as `job show` has them; the rows are in `_differences.jsonl`. */
export interface SealedShadow {
  readonly deployment: string;
  readonly revision: number;
  readonly tolerance: number;
  readonly agreement: number | null;
  readonly rows: { readonly compared: number; readonly same: number; readonly different: number };
  readonly mini_batches: { readonly compared: number; readonly failed: number; readonly other_columns: number };
  readonly scorer: { readonly kind: string };
  readonly model: SealedArtifact | null;
  readonly code: SealedArtifact | null;
}

interface SealedArtifact {
  readonly kind: 'file' | 'folder';
  readonly name: string;
  readonly digest: string;
  readonly bytes: number;
}

/** What scored: nothing but the interpreter's path is known of a Python that was there already. */
export interface SealedEnvironment {
  readonly kind: 'host' | 'conda' | 'image';
  readonly python: string | null;
  readonly image: string | null;
  readonly conda: { readonly name: string; readonly digest: string } | null;
}

export const manifestSchema: z.ZodType<Manifest> = z.looseObject({
  name: text,
  batchmill: text,
  deployment: z.looseObject({
    name: text,
    scorer: z.looseObject({ kind: text }),
    model: artifact,
    code: artifact,
    environment: z
      .looseObject({
        kind: z.enum(['host', 'conda', 'image']),
        python: text.nullable(),
        image: text.nullable(),
        conda: z.looseObject({ name: text, digest: text }).nullable(),
      })
      .optional(),
  }),
  scored_with: sha256.optional(),
  columns: z.array(text).nullable().optional(),
  since: z.looseObject({ job: text, output_path: text, reason: text.nullable() }).nullable().optional(),
  shadow: z
    .looseObject({
      ...{ deployment: text, revision: count, tolerance: z.number().min(0), agreement: z.number().nullable() },
      rows: z.looseObject({ compared: count, same: count, different: count }),
      mini_batches: z.looseObject({ compared: count, failed: count, other_columns: count }),
      ...{ scorer: z.looseObject({ kind: text }), model: artifact, code: artifact },
    })
    .nullable()
    .optional(),
  origin: z.looseObject({ endpoint: text.nullable(), revision: count.nullable(), owner: text }).optional(),
  settings: z.looseObject({
    outputAction: z.enum(['append_row', 'summary_only']),
    outputFileName: text,
    outputFormat: text.optional(),
    parts: z.unknown().optional(),
  }),
  input_path: text,
  input_selection: z.looseObject({ list: z.unknown().optional() }).optional(),
  created_at: time,
  started_at: time.nullable(),
  ended_at: time,
  counts: z.looseObject({
    files: z.looseObject({ total: count, scored: count, failed: count, skipped: count }),
    mini_batches: count,
    rows: count,
  }),
  error: z.looseObject({ code, message: text, detail: text }).nullable(),
  format: z.int().min(1),
  generation: z.int().min(1).default(1),
  verdict: z.enum(jobStates).extract(['Completed', 'Failed', 'Canceled']),
  output: file.nullable(),
  files: z.array(chunk),
  errors: chunk.nullable(),
  custom_files: z.array(customLineSchema),
  custom_chunks: z.array(chunk),
  custom_counts: z.looseObject({ files: count, bytes: count, overwritten: count, error: text.nullable() }),
  segments: z.array(chunk).optional(),
  totals: z
    .looseObject({
      files: count,
      scored: count,
      failed: count,
      unscored: count,
      taken: count.optional(),
      input_bytes: count,
      rows: count.nullable(),
      output_bytes: count.nullable(),
    })
    .optional(),
  signed_by: signedBy.nullable().default(null),
});

const titles = {
  manifest: 'Manifest of a sealed output: _manifest.json',
  'manifest-file': 'A line of _manifest/files-*.jsonl: one input file',
  'manifest-error': 'A line of _errors.jsonl: one failed input file',
  'manifest-segment': 'A line of _manifest/segments-*.jsonl: a run of mini-batches in the output file',
  'manifest-custom': 'A line of _manifest/custom-*.jsonl: a file that user code wrote',
} as const;

export type ManifestSchemaName = keyof typeof titles;

/** As JSON Schema, by the name of its file. */
export function manifestJsonSchemas(): Readonly<Record<ManifestSchemaName, Readonly<Record<string, unknown>>>> {
  const titled = (name: ManifestSchemaName, schema: z.ZodType): Readonly<Record<string, unknown>> => ({
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: titles[name],
    ...withoutBounds(z.toJSONSchema(schema, { io: 'input', target: 'draft-07' })),
  });
  return {
    manifest: titled('manifest', manifestSchema),
    'manifest-file': titled('manifest-file', fileLineSchema),
    'manifest-error': titled('manifest-error', errorLineSchema),
    'manifest-segment': titled('manifest-segment', segmentLineSchema),
    'manifest-custom': titled('manifest-custom', customLineSchema),
  };
}

/** The largest whole number of a double says nothing to readers. */
function withoutBounds(value: Record<string, unknown>): Record<string, unknown> {
  return JSON.parse(
    JSON.stringify(value, (key, inner: unknown) =>
      key === 'maximum' && inner === Number.MAX_SAFE_INTEGER ? undefined : inner,
    ),
  ) as Record<string, unknown>;
}
