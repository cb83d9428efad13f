/** Which of the files below an input are a job's. */
import { skippedReasons, skippedTotal, type SkippedNames } from './skipped-names.ts';

/** A file that names a job's inputs, one by one and in their order. */
export interface InputList {
  /** Absolute, on the machine that lists the input. Its ending tells the form: text, CSV, JSON Lines or Parquet. */
  readonly path: string;
  /** Where the paths stand, in all forms but text. */
  readonly column: string;
  /** What told its content from another when the job was submitted; null: nobody has looked. */
  readonly identity: string | null;
}

export const inputListColumnDefault = 'path';

export interface InputSelection {
  /** Glob patterns; empty: all files. */
  readonly include: readonly string[];
  /** Glob patterns; they win over `include`. */
  readonly exclude: readonly string[];
  /** False skips sub-folders. */
  readonly recursive: boolean;
  /** Null: the files that are there are listed, in the order of their paths. */
  readonly list: InputList | null;
}

/** Why there is nothing to score. `skipped`: by reason, or how many in all where nobody has counted by reason. */
export function emptyInputText(
  inputPath: string,
  selection: InputSelection,
  skipped: Readonly<SkippedNames> | number,
): string {
  const where = selection.list === null ? `${inputPath} holds` : `${selection.list.path} names`;
  const isCounted = typeof skipped !== 'number';
  const total = isCounted ? skippedTotal(skipped) : skipped;
  if (total === 0) return `${where} no file to score`;
  const names = total === 1 ? '1 name was passed over' : `${total} names were passed over`;
  const reasons = isCounted ? `: ${skippedReasons(skipped)}` : '';
  const patterns = patternsText(selection);
  return `${where} no file to score; ${names}${reasons}${patterns === '' ? '' : ` (${patterns})`}`;
}

/** What a deployment says of it. Deployments in the journals of older releases have no patterns. */
export function selectionOf(settings: {
  readonly recursive: boolean;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
}): InputSelection {
  const { recursive, include = [], exclude = [] } = settings;
  return { include, exclude, recursive, list: null };
}

/** `--include '*.jpg' --exclude 'old/'`, as a user would have written it; empty without patterns. */
export function patternsText({ include, exclude }: Pick<InputSelection, 'include' | 'exclude'>): string {
  const flags = (flag: string, patterns: readonly string[]): string[] => patterns.map((one) => `${flag} '${one}'`);
  return [...flags('--include', include), ...flags('--exclude', exclude)].join(' ');
}
