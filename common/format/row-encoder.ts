/**
 * Rows of any scorer as bytes of any format. What is loaded for a format is loaded once, when a scoring host starts; encoding
 * itself waits for nothing.
 */
import type { Table } from 'apache-arrow';
import type { OutputFormat } from '../core/deployment.ts';
import type { OutputForm } from '../core/output-form.ts';
import { encodeTable } from './arrow-text.ts';
import type { RowOrigin } from './row-origin.ts';
import type { EncodedRows } from './text-encoder.ts';
import { encodeValues, type ValueRows } from './value-text.ts';

export interface RowEncoder {
  /** An Arrow table of any release of apache-arrow. @throws SCORER_OUTPUT_INVALID */
  table(table: Table, origin?: RowOrigin | null): EncodedRows;
  /** @throws SCORER_OUTPUT_INVALID, some of it only when the pieces are walked */
  values(rows: ValueRows, origin?: RowOrigin | null): EncodedRows;
}

export async function openRowEncoder(format: OutputFormat, form: OutputForm): Promise<RowEncoder> {
  if (format === 'arrow') {
    const { openArrowEncoder } = await import('./arrow-stream.ts');
    return openArrowEncoder(form);
  }
  return {
    table: (table, origin = null) => encodeTable(table, format, { form, origin }),
    values: (rows, origin = null) => encodeValues(rows, format, { form, origin }),
  };
}
