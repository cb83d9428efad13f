/**
 * Two results of the same files beside each other, row by row, as they come from their spools: what a job's shadow would have said
 * otherwise. Bounded memory, whatever their size: a piece of each is held at a time.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { rowTexts } from '../../common/compare/row-texts.ts';
import { isSameRow, rowForm, shownRow, type RowForm } from '../../common/compare/same-row.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { OutputFormat } from '../../common/core/deployment.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { columnOf, type ResultSchema, type ResultSummary } from '../../common/core/result.ts';
import { noShadowCounts, type OtherColumns, type ShadowCounts } from '../../common/core/shadow.ts';
import { prologueBytes } from '../../common/format/prologue.ts';
import type { ResultBody } from './result-body.ts';

export interface OneResult {
  readonly summary: ResultSummary;
  readonly body: Pick<ResultBody, 'rows' | 'rowPieces'>;
}

export interface CompareResults {
  readonly files: readonly HostFile[];
  /** Of both. */
  readonly format: OutputFormat;
  readonly delimiter: string | undefined;
  readonly tolerance: number;
  /** Takes a difference: a line of JSON. */
  readonly write: (line: string) => Promise<void>;
}

/** Files whose rows are known together only, or one file. */
interface Group {
  readonly files: readonly number[];
  readonly rows: number;
  readonly otherRows: number;
}

/** @throws COMPARE_UNUSABLE where rows cannot be told from each other, OUTPUT_CORRUPT for bytes that are no rows */
export async function compareResults(
  own: OneResult,
  shadow: OneResult,
  options: CompareResults,
): Promise<{ readonly counts: ShadowCounts; readonly columns: OtherColumns | null }> {
  const columns = otherColumns(own.summary.schema, shadow.summary.schema);
  const comparison = new Comparison(own, shadow, options);
  await comparison.run();
  return { counts: comparison.counts, columns };
}

class Comparison {
  readonly counts: { -readonly [K in keyof ShadowCounts]: number } = { ...noShadowCounts };
  readonly #own: OneResult;
  readonly #shadow: OneResult;
  readonly #options: CompareResults;
  readonly #form: RowForm;

  constructor(own: OneResult, shadow: OneResult, options: CompareResults) {
    this.#own = own;
    this.#shadow = shadow;
    this.#options = options;
    this.#form = rowForm(options.format, options.delimiter);
  }

  async run(): Promise<void> {
    const [a, b] = [this.#own.summary, this.#shadow.summary];
    const groups = groupsOf(a, b, this.#options.files.length);
    const isOneLayout = a.rows === b.rows && groups.every(({ rows, otherRows }) => rows === otherRows);
    if (isOneLayout && (await isSameBytes(this.#own.body, this.#shadow.body))) {
      for (const group of groups) await this.#take(group, () => Promise.resolve(group.rows));
      return;
    }
    const left = this.#rowsOf(this.#own);
    const right = this.#rowsOf(this.#shadow);
    try {
      for (const group of groups) {
        await this.#take(group, async (which) => await this.#compareRows(group.rows, which, left, right));
        // Those that are not compared are passed over.
        await left.skipTo(group.rows);
        await right.skipTo(group.otherRows);
      }
      await Promise.all([left.end(), right.end()]);
    } finally {
      await Promise.all([left.close(), right.close()]);
    }
  }

  /** `same`: how many of the rows are, once they are compared. */
  async #take(group: Group, same: (which: Which) => Promise<number>): Promise<void> {
    const scored: number[] = [];
    for (const index of group.files) if (!(await this.#isFailed(index))) scored.push(index);
    const [first, last] = [scored[0], scored.at(-1)];
    if (first === undefined || last === undefined) return;
    const { files } = this.#options;
    const which = placeOf(files[first], files[last]);
    if (group.rows !== group.otherRows) {
      this.counts.filesOtherRows += scored.length;
      const [a, b] = [`${group.rows} rows`, `${group.otherRows} rows`];
      await this.#write({ ...which, row: null, default: a, shadow: b });
      return;
    }
    const count = await same(which);
    this.counts.rowsSame += count;
    this.counts.rowsDifferent += group.rows - count;
    this.counts[count === group.rows ? 'filesSame' : 'filesDifferent'] += scored.length;
  }

  /** By at least one of the two. */
  async #isFailed(index: number): Promise<boolean> {
    const found = ({ summary }: OneResult) => summary.failed.find((failure) => failure.index === index);
    const [a, b] = [found(this.#own), found(this.#shadow)];
    if (a === undefined && b === undefined) return false;
    const both = a !== undefined && b !== undefined;
    this.counts[both ? 'filesFailedBoth' : a ? 'filesFailedDefault' : 'filesFailedShadow'] += 1;
    if (both) return true;
    const file = this.#options.files[index];
    const text = (one: typeof a): string => (one === undefined ? 'scored' : `failed: ${one.code}: ${one.message}`);
    await this.#write({ ...placeOf(file, file), row: null, default: shownRow(text(a)), shadow: shownRow(text(b)) });
    return true;
  }

  /** How many are the same. */
  async #compareRows(count: number, which: Which, left: RowReader, right: RowReader): Promise<number> {
    let same = 0;
    for (let row = 0; row < count; row += 1) {
      if (!left.isAtHand) await left.wait();
      if (!right.isAtHand) await right.wait();
      const [a, b] = [left.take(), right.take()];
      if (isSameRow(a, b, [this.#form, this.#form], this.#options.tolerance)) same += 1;
      else await this.#write({ ...which, row, default: shownRow(a), shadow: shownRow(b) });
    }
    return same;
  }

  #rowsOf({ summary, body }: OneResult): RowReader {
    const { format } = this.#options;
    return new RowReader(
      rowTexts(inTurns(body.rowPieces()), format, prologueBytes(summary.schema ?? undefined)),
      summary.rows,
    );
  }

  #write(difference: Difference): Promise<void> {
    return this.#options.write(JSON.stringify(difference));
  }
}

/** `part`: first byte of a file that is shared out; `to`: the last of several files whose rows nobody knows apart. */
interface Which {
  readonly file: string;
  readonly to?: string;
  readonly part?: number;
}

interface Difference extends Which {
  readonly row: number | null;
  readonly default: string;
  readonly shadow: string;
}

function placeOf(first: HostFile | undefined, last: HostFile | undefined): Which {
  const file = first?.name ?? '';
  const part = first?.part && 'begin' in first.part ? { part: first.part.begin } : {};
  return { file, ...(last === first || last === undefined ? {} : { to: last.name }), ...part };
}

/** Alone where both know the rows of each file. */
function groupsOf(a: ResultSummary, b: ResultSummary, files: number): readonly Group[] {
  const all = Array.from({ length: files }, (_, index) => index);
  const { fileRows: rows } = a;
  const { fileRows: otherRows } = b;
  if (rows === null || otherRows === null) return [{ files: all, rows: a.rows, otherRows: b.rows }];
  return all.map((index) => ({ files: [index], rows: rows[index] ?? 0, otherRows: otherRows[index] ?? 0 }));
}

/** Null when both have the same, or one of them has none. */
function otherColumns(a: ResultSchema | null, b: ResultSchema | null): OtherColumns | null {
  const names = (schema: ResultSchema | null): readonly string[] =>
    (schema?.columns ?? []).map((text) => columnOf(text).name);
  const [own, other] = [names(a), names(b)];
  if (own.length === 0 || other.length === 0 || JSON.stringify(own) === JSON.stringify(other)) return null;
  return { default: own, shadow: other };
}

async function isSameBytes(a: OneResult['body'], b: OneResult['body']): Promise<boolean> {
  if (a.rows.bytes !== b.rows.bytes || a.rows.crc32 !== b.rows.crc32) return false;
  // Both come in pieces of one size.
  const others = b.rowPieces();
  try {
    for await (const piece of a.rowPieces()) {
      const { value } = await others.next();
      if (!value || Buffer.compare(piece, value) !== 0) return false;
    }
  } finally {
    await others.return();
  }
  return true;
}

/** A result in memory comes without a wait: others on the node have their turn between two pieces. */
async function* inTurns(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of pieces) {
    yield piece;
    await nextTurn();
  }
}

/** Rows in order, as many as the scoring host has counted. */
class RowReader {
  readonly #blocks: AsyncGenerator<readonly string[], void, void>;
  readonly #count: number;
  #block: readonly string[] = [];
  #at = 0;
  /** Of the group that is being read. */
  #read = 0;
  #taken = 0;

  constructor(blocks: AsyncGenerator<readonly string[], void, void>, count: number) {
    this.#blocks = blocks;
    this.#count = count;
  }

  /** False: the next row has to be waited for. */
  get isAtHand(): boolean {
    return this.#at < this.#block.length;
  }

  /** @throws COMPARE_UNUSABLE behind the last row */
  async wait(): Promise<void> {
    while (!this.isAtHand) if (!(await this.#next())) throw this.#unusable();
  }

  /** Of a row that is at hand. */
  take(): string {
    this.#read += 1;
    this.#taken += 1;
    return this.#block[this.#at++] ?? '';
  }

  /** Behind the `rows`th row of the group, where the next one begins. @throws COMPARE_UNUSABLE */
  async skipTo(rows: number): Promise<void> {
    while (this.#read < rows) {
      await this.wait();
      this.take();
    }
    this.#read = 0;
  }

  /** @throws COMPARE_UNUSABLE when there are more rows than were counted: they are not what they seemed */
  async end(): Promise<void> {
    while (!this.isAtHand) if (!(await this.#next())) return;
    throw this.#unusable();
  }

  async close(): Promise<void> {
    await this.#blocks.return();
  }

  async #next(): Promise<boolean> {
    const { value, done } = await this.#blocks.next();
    if (done === true) return false;
    this.#block = value;
    this.#at = 0;
    return true;
  }

  #unusable(): BatchError {
    const message = `the ${this.#count} rows of a mini-batch cannot be told from each other (row ${this.#taken} and those behind it): a text has line breaks of its own; write csv, jsonl or arrow`;
    return new BatchError('COMPARE_UNUSABLE', message);
  }
}
