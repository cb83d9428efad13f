/**
 * What a scoring host says of a mini-batch that it scored; the rows' bytes travel beside it.
 */
import type { ErrorCode } from './error-codes.ts';
import { utf8Length } from './utf8.ts';

/** One file that could not be scored although its mini-batch could. */
export interface FileFailure {
  /** Place of the file within the mini-batch, from 0. */
  readonly index: number;
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * Shape of the rows. The lowest-ordered mini-batch that has rows fixes the job's schema; `prologue` (a CSV header) is
 * written once, before its first row, and is never part of a mini-batch.
 */
export interface ResultSchema {
  /** `name:type` of each column in order; empty for a format without columns. Equal texts mean equal schemas. */
  readonly columns: readonly string[];
  readonly prologue: string;
  /** `base64`: the prologue is bytes that are no text (an Arrow schema), written so. Left out: it is text. */
  readonly prologueForm?: 'base64';
  /**
   * Columns of the input that a model was fed side by side, in this order, because nobody has named them. Schemas that differ in it are two:
   * a model would take one feature for another. Absent: they were named, or who scored does not tell.
   */
  readonly features?: readonly string[];
}

/** Whether rows of both can stand in one output. */
export function isSameSchema(a: ResultSchema, b: ResultSchema): boolean {
  const isEqual = (own: readonly string[], other: readonly string[]): boolean =>
    own.length === other.length && own.every((text, place) => text === other[place]);
  return isEqual(a.columns, b.columns) && (!a.features || !b.features || isEqual(a.features, b.features));
}

/** In words, how features of rows that do not fit differ, and what to do; null where they do not. */
export function featuresDifference(wanted: ResultSchema, found: ResultSchema): string | null {
  const [own, other] = [found.features?.join(', '), wanted.features?.join(', ')];
  if (own === undefined || other === undefined || own === other) return null;
  return `the model was fed the columns ${own} here and ${other} before, in these orders; list them in settings.onnx.columns, and it is fed by name`;
}

/** Bytes that the prologue of a schema takes in the output; 0 without a schema. */
export function prologueLength(schema: ResultSchema | undefined): number {
  if (schema === undefined) return 0;
  const { prologue, prologueForm } = schema;
  if (prologueForm !== 'base64') return utf8Length(prologue);
  return (prologue.length / 4) * 3 - (prologue.endsWith('==') ? 2 : prologue.endsWith('=') ? 1 : 0);
}

/** `name:type` taken apart. A name may have colons; a type has none in front of its first bracket. */
export function columnOf(text: string): { readonly name: string; readonly type: string } {
  for (let at = text.indexOf(':'); at >= 0; at = text.indexOf(':', at + 1)) {
    const type = text.slice(at + 1);
    if (/^\w+(?:[<[].*[>\]])?$/.test(type)) return { name: text.slice(0, at), type };
  }
  return { name: text, type: '' };
}

/** `file`: the scorer names each row's file. `positional`: as many rows as files. `range`: only the mini-batch is known. */
export type Attribution = 'file' | 'positional' | 'range';

export interface ResultSummary {
  readonly rows: number;
  readonly attribution: Attribution;
  /** Rows of each file of the mini-batch, in order; null with attribution `range`. */
  readonly fileRows: readonly number[] | null;
  readonly failed: readonly FileFailure[];
  /** Null when no row was returned, or for a format without columns. */
  readonly schema: ResultSchema | null;
  /** Seconds inside run(). */
  readonly runSeconds: number;
  /** Of the scoring host with all that it started; null when unknown, or when every file has a result and nobody asks. */
  readonly peakMemoryBytes: number | null;
}

/**
 * Files of a mini-batch that count as failed: those named, and, of the rest, as many as rows are missing.
 * @source Azure ML batch scoring-script contract: fewer results than files are failed items, more are fine
 */
export function failedFiles(summary: Pick<ResultSummary, 'rows' | 'failed' | 'attribution'>, files: number): number {
  if (summary.attribution === 'file') return summary.failed.length;
  return summary.failed.length + Math.max(0, files - summary.failed.length - summary.rows);
}
