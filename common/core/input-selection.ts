/** Which of the files below an input are a job's. */
import { skippedReasons, skippedTotal, type SkippedNames } from './skipped-names.ts';

export interface InputSelection {
  /** Glob patterns; empty: all files. */
  readonly include: readonly string[];
  /** Glob patterns; they win over `include`. */
  readonly exclude: readonly string[];
  /** False skips sub-folders. */
  readonly recursive: boolean;
}

/** Why there is nothing to score. `skipped`: by reason, or how many in all where nobody has counted by reason. */
export function emptyInputText(
  inputPath: string,
  selection: InputSelection,
  skipped: Readonly<SkippedNames> | number,
): string {
  const isCounted = typeof skipped !== 'number';
  const total = isCounted ? skippedTotal(skipped) : skipped;
  if (total === 0) return `${inputPath} holds no file to score`;
  const names = total === 1 ? '1 name was passed over' : `${total} names were passed over`;
  const reasons = isCounted ? `: ${skippedReasons(skipped)}` : '';
  const patterns = patternsText(selection);
  return `${inputPath} holds no file to score; ${names}${reasons}${patterns === '' ? '' : ` (${patterns})`}`;
}

/** What a deployment says of it. Deployments in the journals of older releases have no patterns. */
export function selectionOf(settings: {
  readonly recursive: boolean;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
}): InputSelection {
  const { recursive, include = [], exclude = [] } = settings;
  return { include, exclude, recursive };
}

/** `--include '*.jpg' --exclude 'old/'`, as a user would have written it; empty without patterns. */
export function patternsText({ include, exclude }: InputSelection): string {
  const flags = (flag: string, patterns: readonly string[]): string[] => patterns.map((one) => `${flag} '${one}'`);
  return [...flags('--include', include), ...flags('--exclude', exclude)].join(' ');
}
