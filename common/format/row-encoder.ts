/**
 * Rows of any scorer as bytes of any format. What is loaded for a format is loaded once, when a scoring host starts; encoding
 * itself waits for nothing.
 */
import type { Table } from 'apache-arrow';
import type { OutputFormat } from '../core/deployment.ts';
import type { OutputForm } from '../core/output-form.ts';
import { encodeTable } from './arrow-text.ts';
import type { Carried } from './carried-columns.ts';
import type { RowOrigin } from './row-origin.ts';
import type { EncodedRows } from './text-encoder.ts';
import { encodeValues, type ValueRows } from './value-text.ts';

/** What is known of rows beside themselves. */
export interface RowsAbout {
  readonly origin?: RowOrigin | null;
  /** `name:type` of the columns that they are to be widened to; null: they stay as they are. */
  readonly columns?: readonly string[] | null;
  /** Columns of the input; of tables alone. */
  readonly carried?: Carried | null;
}

export interface RowEncoder {
  /** An Arrow table of any release of apache-arrow. @throws SCORER_OUTPUT_INVALID, RESULT_SCHEMA_MISMATCH */
  table(table: Table, about?: RowsAbout): EncodedRows;
  /** @throws SCORER_OUTPUT_INVALID, some of it only when the pieces are walked; RESULT_SCHEMA_MISMATCH */
  values(rows: ValueRows, about?: RowsAbout): EncodedRows;
}

export async function openRowEncoder(format: OutputFormat, form: OutputForm): Promise<RowEncoder> {
  if (format === 'arrow') {
    const { openArrowEncoder } = await import('./arrow-stream.ts');
    return openArrowEncoder(form);
  }
  return {
    table: (table, { origin = null, carried = null } = {}) => encodeTable(table, format, { form, origin, carried }),
    values: (rows, { origin = null } = {}) => encodeValues(rows, format, { form, origin }),
  };
}
