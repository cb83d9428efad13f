/**
 * Two sealed outputs of one input beside each other, row by row: how far two deployments agree, and where they do not. Both are
 * read forward in input order, a segment of each at a time.
 */
import { join } from 'node:path';
import { isSameRow, rowForm, shownRow, type RowForm } from '../../common/compare/same-row.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { utf8Compare } from '../../common/core/utf8.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { Manifest } from '../output/manifest-schema.ts';
import { readManifest } from '../since/earlier-output.ts';
import { sealedRows, type FileRows } from './sealed-rows.ts';

export interface CompareOptions {
  /** Output folders: absolute. */
  readonly a: string;
  readonly b: string;
  /** Numbers that are so close are the same: absolutely, or as a part of the larger one. 0: texts must be equal. */
  readonly tolerance: number;
  /** Differences that are shown; the others are counted. */
  readonly examplesMax: number;
  readonly fileSystem: FileSystem;
}

interface SideView {
  readonly job: string;
  readonly deployment: string;
  readonly output_path: string;
  readonly files: number;
  readonly failed_files: number;
  readonly rows: number;
  /** From its start to its end. */
  readonly seconds: number | null;
}

export interface Difference {
  readonly file: string;
  /** Within the file, from 0; null: the files have different numbers of rows, or one of them failed. */
  readonly row: number | null;
  readonly a: string | null;
  readonly b: string | null;
}

export interface Comparison {
  readonly a: SideView;
  readonly b: SideView;
  readonly tolerance: number;
  readonly files: {
    /** Scored by both, and every row the same. */
    readonly same: number;
    readonly different: number;
    /** Scored by both, with different numbers of rows. */
    readonly other_row_counts: number;
    readonly only_a: number;
    readonly only_b: number;
    readonly failed_only_a: number;
    readonly failed_only_b: number;
    readonly failed_both: number;
    /** Compared together with their neighbours: nobody knows which rows are whose. */
    readonly grouped: number;
  };
  readonly rows: { readonly compared: number; readonly same: number; readonly different: number };
  /** Rows that are the same of those that were compared; null: none was. */
  readonly agreement: number | null;
  readonly differences: readonly Difference[];
}

/** @throws COMPARE_UNUSABLE for an output whose rows cannot be read, or of another input */
export async function compareOutputs(options: CompareOptions): Promise<Comparison> {
  const { fileSystem, tolerance } = options;
  const [a, b] = [await opened(fileSystem, options.a), await opened(fileSystem, options.b)];
  if (a.manifest.input_path !== b.manifest.input_path) {
    const message = `${options.a} has scored ${a.manifest.input_path}, ${options.b} ${b.manifest.input_path}; only outputs of one input can be compared`;
    throw new BatchError('COMPARE_UNUSABLE', message);
  }
  const tally = new Tally(options, a.form, b.form);
  await inStep(a.rows, b.rows, (left, right) => tally.take(left, right));
  return { a: a.view, b: b.view, tolerance, ...tally.result };
}

interface Opened {
  readonly manifest: Manifest;
  readonly form: RowForm;
  readonly rows: AsyncGenerator<FileRows, void, void>;
  readonly view: SideView;
}

async function opened(fileSystem: FileSystem, dir: string): Promise<Opened> {
  const manifest = await readManifest(fileSystem, dir).catch((error: unknown) => {
    if (!(error instanceof BatchError)) throw error;
    throw new BatchError('COMPARE_UNUSABLE', error.message, { cause: error });
  });
  if (manifest.output === null) {
    const why = manifest.settings.parts ? 'its rows are in parts' : 'it has no file of rows';
    throw new BatchError('COMPARE_UNUSABLE', `${dir} cannot be compared: ${why}; score with one file of rows`);
  }
  if (manifest.input_selection?.list) {
    throw new BatchError(
      'COMPARE_UNUSABLE',
      `${dir} cannot be compared: its input goes by a list, in an order of its own`,
    );
  }
  const { counts, started_at: started, ended_at: ended } = manifest;
  const view: SideView = {
    ...{ job: manifest.name, deployment: manifest.deployment.name, output_path: dir },
    ...{ files: counts.files.total, failed_files: counts.files.failed, rows: counts.rows },
    seconds: started === null ? null : (Date.parse(ended) - Date.parse(started)) / 1_000,
  };
  const format = manifest.settings.outputFormat ?? 'azure';
  const { outputForm } = manifest.settings as { readonly outputForm?: { readonly delimiter?: string } };
  const form = rowForm(format, outputForm?.delimiter);
  return {
    manifest,
    form,
    rows: sealedRows({ fileSystem, dir, manifest, path: join(dir, manifest.output.path) }),
    view,
  };
}

/** Files of both in the order of their paths; null for what one of them has not. */
async function inStep(
  a: AsyncGenerator<FileRows, void, void>,
  b: AsyncGenerator<FileRows, void, void>,
  take: (left: FileRows | null, right: FileRows | null) => void,
): Promise<void> {
  let [left, right] = [await a.next(), await b.next()];
  while (!(left.done === true && right.done === true)) {
    const order = left.done === true ? 1 : right.done === true ? -1 : compare(left.value, right.value);
    take(order <= 0 && left.done !== true ? left.value : null, order >= 0 && right.done !== true ? right.value : null);
    const goes = { left: order <= 0, right: order >= 0 };
    if (goes.left) left = await a.next();
    if (goes.right) right = await b.next();
  }
}

function compare(a: FileRows, b: FileRows): number {
  return utf8Compare(a.path, b.path) || a.begin - b.begin;
}

class Tally {
  readonly #options: CompareOptions;
  readonly #forms: readonly [RowForm, RowForm];
  readonly #files = {
    ...{ same: 0, different: 0, other_row_counts: 0, only_a: 0, only_b: 0 },
    ...{ failed_only_a: 0, failed_only_b: 0, failed_both: 0, grouped: 0 },
  };
  readonly #rows = { compared: 0, same: 0, different: 0 };
  readonly #differences: Difference[] = [];
  /** Rows of neighbours of which one side does not know whose they are, until both know again. */
  #open: { first: string; files: number; a: string[]; b: string[] } | null = null;

  constructor(options: CompareOptions, a: RowForm, b: RowForm) {
    this.#options = options;
    this.#forms = [a, b];
  }

  get result(): Pick<Comparison, 'files' | 'rows' | 'agreement' | 'differences'> {
    const { compared, same } = this.#rows;
    const agreement = compared === 0 ? null : same / compared;
    return { files: this.#files, rows: this.#rows, agreement, differences: this.#differences };
  }

  take(a: FileRows | null, b: FileRows | null): void {
    if (a === null || b === null) {
      this.#files[a === null ? 'only_b' : 'only_a'] += 1;
      return this.#show({ file: (a ?? b)?.path ?? '', row: null, a: a && 'a file', b: b && 'a file' });
    }
    const isAlone = this.#open === null && isWhole(a) && isWhole(b);
    const isFailed = a.isFailed || b.isFailed;
    if (!(isAlone && isFailed) && (a.group || b.group || this.#open)) return this.#takeGrouped(a, b);
    if (isFailed) {
      if (a.isFailed && b.isFailed) return void (this.#files.failed_both += 1);
      this.#files[a.isFailed ? 'failed_only_a' : 'failed_only_b'] += 1;
      return this.#show({
        file: a.path,
        row: null,
        a: a.isFailed ? 'failed' : 'scored',
        b: b.isFailed ? 'failed' : 'scored',
      });
    }
    this.#files[this.#compareRows(a.path, a.rows ?? [], b.rows ?? [])] += 1;
  }

  #takeGrouped(a: FileRows, b: FileRows): void {
    const open = (this.#open ??= { first: a.path, files: 0, a: [], b: [] });
    open.files += 1;
    open.a.push(...(a.group?.rows ?? a.rows ?? []));
    open.b.push(...(b.group?.rows ?? b.rows ?? []));
    if (!(isWhole(a) && isWhole(b))) return;
    this.#open = null;
    this.#files.grouped += open.files;
    const which = open.files === 1 ? a.path : `${open.first} … ${a.path}`;
    this.#files[this.#compareRows(which, open.a, open.b)] += open.files;
  }

  /** What they count as. */
  #compareRows(file: string, a: readonly string[], b: readonly string[]): 'same' | 'different' | 'other_row_counts' {
    if (a.length !== b.length) {
      this.#show({ file, row: null, a: `${a.length} rows`, b: `${b.length} rows` });
      return 'other_row_counts';
    }
    let isSame = true;
    for (const [row, text] of a.entries()) {
      const other = b[row] ?? '';
      this.#rows.compared += 1;
      if (isSameRow(text, other, this.#forms, this.#options.tolerance)) {
        this.#rows.same += 1;
        continue;
      }
      isSame = false;
      this.#rows.different += 1;
      this.#show({ file, row, a: shownRow(text), b: shownRow(other) });
    }
    return isSame ? 'same' : 'different';
  }

  #show(difference: Difference): void {
    if (this.#differences.length < this.#options.examplesMax) this.#differences.push(difference);
  }
}

/** Whether no file behind it has rows that stand together with its own. */
function isWhole({ group }: FileRows): boolean {
  return group?.isLast ?? true;
}
