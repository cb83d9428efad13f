/**
 * Columns of files that bring columns with their rows (JSON Lines): what the first rows lack may follow. Where columns are named, those are
 * awaited, and missing until then; where all are asked for, one that comes later would be lost, which fails the file.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { ColumnBlock } from './column-block.ts';
import type { TableInput } from './onnx-inputs.ts';
import { missingError, wantedByModel, wantedByOutput, type TableFeed } from './table-columns.ts';
import { cellTypes, isNumericType } from './tensor-cells.ts';

/** How many columns a message names. */
const shownMax = 20;

export class LateColumns {
  /** Columns of the file: those of its first rows, and those that are awaited. */
  readonly names: readonly string[];
  readonly #file: HostFile;
  readonly #feed: TableFeed;
  readonly #first: readonly string[];
  readonly #isKnown: ReadonlySet<string>;
  /** Columns that no row had so far, and who wants them. */
  readonly #awaited = new Map<string, 'model' | 'output'>();

  /** `block` is the first one. */
  constructor(file: HostFile, feed: TableFeed, { names, late }: ColumnBlock) {
    this.#file = file;
    this.#feed = feed;
    this.#first = names;
    const awaitAll = (wanted: readonly string[], who: 'model' | 'output'): void => {
      for (const name of wanted) if (!names.includes(name) && !this.#awaited.has(name)) this.#awaited.set(name, who);
    };
    if (late !== undefined) {
      // Without a fill a gap fails the file in any case: that it lacks the column says more.
      if (feed.missing !== 'refuse')
        awaitAll(
          feed.plan.inputs.flatMap((input) => input.columns ?? []),
          'model',
        );
      if (feed.carried !== 'all') awaitAll(feed.carried ?? [], 'output');
    }
    this.names = [...names, ...this.#awaited.keys()];
    this.#isKnown = new Set(this.names);
  }

  /** Throws INPUT_COLUMNS_MISSING for a value of a column that is asked for, but not known. `features`: inputs fed from all that suit. */
  check(block: ColumnBlock, features: readonly TableInput[]): void {
    for (const name of this.#awaited.keys()) {
      if (Array.from(block.column(name)).some((value) => value !== undefined)) this.#awaited.delete(name);
    }
    const isAll = this.#feed.carried === 'all';
    if (block.late === undefined || (!isAll && features.length === 0)) return;
    const isFeature = (name: string, value: unknown): boolean =>
      features.some(({ name: own, type }) => name === own || suits(value, type));
    const found = block.late((name, value) => !this.#isKnown.has(name) && (isAll || isFeature(name, value)));
    if (found === null) return;
    const known = this.#first.slice(0, shownMax).join(', ');
    const wanted = isAll
      ? 'include: {input: [...]} of settings.output names those to keep'
      : 'settings.onnx.columns lists those to take';
    throw new BatchError(
      'INPUT_COLUMNS_MISSING',
      `${this.#file.name}, ${block.place(found.row)}: the column ${found.name} begins here, but the first rows of the file, ` +
        `which tell its columns, have only ${known}${this.#first.length > shownMax ? ' and others' : ''}. Name the columns: ${wanted}`,
    );
  }

  /** Behind the last rows: a column that none of them had is none of this file. Of a part nobody knows. */
  end(): void {
    if (this.#file.part !== undefined) return;
    for (const [name, who] of this.#awaited) {
      const [words, hint] = who === 'model' ? wantedByModel : [wantedByOutput];
      throw missingError(this.#file, [name], this.#first, words, hint);
    }
  }
}

/** Whether a value of a column may make it a feature. */
function suits(value: unknown, type: string): boolean {
  if (typeof value === 'string') return !isNumericType(type);
  return cellTypes[type]?.convert(value) !== null;
}
