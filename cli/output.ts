/**
 * The one way out: answers go to stdout in the format that was chosen, everything else to stderr. No command prints by
 * itself.
 */
import type { BatchError } from '../common/core/batch-error.ts';
import { unreachable } from '../common/core/invariant.ts';
import { createProgress, type ProgressLine } from './progress-line.ts';
import type { Select } from './query.ts';
import { formatSheet, formatTable, formatTsv, type Column } from './table.ts';
import { valueTable, valueTsv } from './value-text.ts';
import type { Clock } from '../common/io/clock.ts';

/** @source Azure CLI, `--output` */
export const answerFormats = ['table', 'json', 'jsonc', 'yaml', 'yamlc', 'tsv', 'none'] as const;
export type AnswerFormat = (typeof answerFormats)[number];

/** Where text goes. */
export interface Sink {
  write(text: string): void;
  readonly isTerminal: boolean;
  /** Characters in a line of a terminal. */
  readonly columns: number;
}

export interface Output {
  /** Answers a question for many things. */
  list<T>(rows: readonly T[], columns: readonly Column<T>[]): void;
  /** Answers a question for one thing. */
  item<T>(item: T, columns: readonly Column<T>[]): void;
  /** One of a stream of things: `text` where people read, one line of JSON where programs do. */
  event<T>(item: T, columns: readonly Column<T>[], text: string): void;
  /** Answers a question whose answer is text for people and a whole thing for programs. */
  page<T>(item: T, columns: readonly Column<T>[], text: string): void;
  /** The words of somebody else, as they are. */
  text(text: string): void;
  /** A line for people. */
  note(text: string): void;
  /** What is going on; replaces what it said before. */
  progress(text: string): void;
  /** `error CODE: message`, what to do, and the detail. */
  failure(error: BatchError): void;
}

export interface OutputOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Null: a table on a terminal, JSON otherwise. */
  readonly format: AnswerFormat | null;
  /** What is taken of each answer; null: all of it. */
  readonly select: Select | null;
  /** Errors show what caused them. */
  readonly isDebug: boolean;
  readonly hasColor: { readonly stdout: boolean; readonly stderr: boolean };
  readonly clock: Clock;
}

/** Loads what the format needs. */
export async function createOutput(options: OutputOptions): Promise<Output> {
  const format = options.format ?? (options.stdout.isTerminal ? 'table' : 'json');
  const toYaml = format === 'yaml' || format === 'yamlc' ? (await import('./yaml-text.ts')).yamlText : String;
  return new TextOutput(options, format, toYaml);
}

class TextOutput implements Output {
  readonly #options: OutputOptions;
  readonly #format: AnswerFormat;
  readonly #toYaml: (value: unknown) => string;
  readonly #progress: ProgressLine;

  constructor(options: OutputOptions, format: AnswerFormat, toYaml: (value: unknown) => string) {
    this.#options = options;
    this.#format = format;
    this.#toYaml = toYaml;
    this.#progress = createProgress(options.stderr, options.clock);
  }

  list<T>(rows: readonly T[], columns: readonly Column<T>[]): void {
    if (this.#options.select) this.#selected(rows);
    else if (this.#format === 'table') this.#answer(rows.length === 0 ? '' : formatTable(rows, columns));
    else if (this.#format === 'tsv') this.#answer(formatTsv(rows, columns));
    else this.#answer(this.#structured(rows));
  }

  item<T>(item: T, columns: readonly Column<T>[]): void {
    if (this.#options.select) this.#selected(item);
    else if (this.#format === 'table') this.#answer(formatSheet(item, columns));
    else if (this.#format === 'tsv') this.#answer(formatTsv([item], columns));
    else this.#answer(this.#structured(item));
  }

  event<T>(item: T, columns: readonly Column<T>[], text: string): void {
    if (this.#options.select) return this.#selected(item);
    switch (this.#options.format) {
      // A stream is read by people unless a format was asked for, as `az ml job stream` has it.
      case null:
      case 'table':
        return this.#answer(`${text}\n`);
      case 'tsv':
        return this.#answer(formatTsv([item], columns));
      case 'yaml':
      case 'yamlc':
        return this.#answer(`---\n${this.#toYaml(item)}`);
      case 'none':
        return;
      case 'json':
      case 'jsonc':
        return this.#answer(`${JSON.stringify(item)}\n`);
      default:
        return unreachable(this.#options.format);
    }
  }

  page<T>(item: T, columns: readonly Column<T>[], text: string): void {
    const { format, select } = this.#options;
    if (!select && (format === null || format === 'table')) this.#answer(text);
    else this.item(item, columns);
  }

  text(text: string): void {
    if (text !== '') this.#answer(text);
  }

  note(text: string): void {
    this.#progress.clear();
    this.#options.stderr.write(`${text}\n`);
  }

  progress(text: string): void {
    this.#progress.update(text);
  }

  failure(error: BatchError): void {
    const label = `error ${error.code}:`;
    this.note(`${this.#options.hasColor.stderr ? `\x1b[1;31m${label}\x1b[0m` : label} ${error.message}`);
    this.note(error.rule.help);
    if (error.detail !== '') this.note(error.detail.trimEnd().replaceAll(/^/gm, '    '));
    if (this.#options.isDebug && error.cause instanceof Error) this.note(error.cause.stack ?? error.cause.message);
  }

  /** What the query leaves. */
  #selected(answer: unknown): void {
    const value = this.#options.select?.(answer);
    if (this.#format === 'table') this.#answer(valueTable(value));
    else this.#answer(this.#format === 'tsv' ? valueTsv(value) : this.#structured(value));
  }

  #answer(text: string): void {
    this.#progress.clear();
    this.#options.stdout.write(text);
  }

  #structured(value: unknown): string {
    if (this.#format === 'none') return '';
    if (this.#format === 'yaml' || this.#format === 'yamlc') return this.#toYaml(value);
    const json = `${JSON.stringify(value, null, 2)}\n`;
    return this.#format === 'jsonc' && this.#options.hasColor.stdout ? colorJson(json) : json;
  }
}

/** Keys blue, text green, other values yellow. */
function colorJson(json: string): string {
  return json.replaceAll(
    /("(?:[^"\\]|\\.)*")(:?)|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g,
    (match, text: string | undefined, colon: string | undefined) => {
      if (text === undefined) return `\x1b[33m${match}\x1b[0m`;
      return colon === ':' ? `\x1b[34m${text}\x1b[0m:` : `\x1b[32m${text}\x1b[0m`;
    },
  );
}
