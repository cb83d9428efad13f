/** Columns of one input file that are to stand in the output, held until the file is read to its end: only then their types are known. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { OutputFormat } from '../../common/core/deployment.ts';
import type { OutputForm } from '../../common/core/output-form.ts';
import { columnOf } from '../../common/core/result.ts';
import { inferType, type CellOf } from '../../common/format/arrow-values.ts';
import type { CarriedColumn } from '../../common/format/carried-columns.ts';
import { parseType, typeText, type ColumnType } from '../../common/format/column-type.ts';
import type { ReadColumn } from './file-rows.ts';
import { plainTexts, typedTexts } from './text-types.ts';

/** What is known of columns beside their values. */
export interface CarriedForm {
  readonly format: OutputFormat;
  readonly form: OutputForm;
  /** `name:type` of the job's first rows, where others are widened to them; null: not known. */
  readonly told: readonly string[] | null;
}

interface Part {
  readonly first: number;
  readonly rows: number;
  readonly columns: readonly ReadColumn[];
}

export class CarriedRows {
  readonly #parts: Part[] = [];

  get rows(): number {
    const last = this.#parts.at(-1);
    return last === undefined ? 0 : last.first + last.rows;
  }

  /** Rows that follow those before. */
  add(rows: number, columns: readonly ReadColumn[]): void {
    this.#parts.push({ first: this.rows, rows, columns });
  }

  /** The columns, by rows of the file. `file` is its name. Throws INPUT_DECODE_FAILED for values that no column holds together. */
  close(file: string, known: CarriedForm): readonly CarriedColumn[] {
    const columns = this.#parts[0]?.columns ?? [];
    return columns.map(({ name, type }, place) => {
      const cell = this.#cellOf(place);
      if (type === 'text') return { name, ...this.#texts(name, cell as (row: number) => string, known) };
      return { name, type: type ?? this.#typeOf(name, cell, file, known), cell };
    });
  }

  /** Rows are asked for in order, for the most part. */
  #cellOf(place: number): CellOf {
    const parts = this.#parts;
    let at = 0;
    return (row) => {
      while (row < (parts[at] as Part).first) at -= 1;
      while (row >= (parts[at] as Part).first + (parts[at] as Part).rows) at += 1;
      const { first, columns } = parts[at] as Part;
      return (columns[place] as ReadColumn).cell(row - first);
    };
  }

  #texts(
    name: string,
    text: (row: number) => string,
    { format, form, told }: CarriedForm,
  ): Omit<CarriedColumn, 'name'> {
    // From text to text nothing is read into it.
    if (format === 'azure' || format === 'csv') return { type: null, cell: text };
    const wanted = typeIn(form.schema, name) ?? typeIn(told, name);
    return wanted?.kind === 'utf8' ? plainTexts(text) : typedTexts(this.rows, text);
  }

  #typeOf(name: string, cell: CellOf, file: string, { format, form }: CarriedForm): ColumnType | null {
    if (format !== 'arrow') return null;
    const declared = typeIn(form.schema, name);
    if (declared !== null) return declared;
    try {
      return inferType(name, this.rows, cell);
    } catch (error) {
      if (!(error instanceof BatchError)) throw error;
      throw new BatchError('INPUT_DECODE_FAILED', `${file}: ${error.message}`, { cause: error });
    }
  }
}

function typeIn(columns: readonly string[] | null, name: string): ColumnType | null {
  const found = columns?.map(columnOf).find((column) => column.name === name);
  return found === undefined ? null : parseType(found.type);
}

/** Equal for files whose columns can stand in one table. */
export const layoutOf = (columns: readonly CarriedColumn[]): string =>
  JSON.stringify(columns.map(({ name, type }) => [name, type && typeText(type)]));
