/**
 * Tells from its path whether a file is wanted. A pattern without `/` is one for names at any depth; one that ends in `/` is for
 * all that lies in a folder. What is excluded stays so, whatever else includes it.
 */
import type { Minimatch } from 'minimatch';
import { compilePattern, patternProblem } from '../../common/config/input-pattern.ts';
import { BatchError } from '../../common/core/batch-error.ts';

export interface InputFilter {
  /** Of a file whose folders are all entered. */
  takesFile(path: string): boolean;
  /** False: nothing below the folder is wanted. `path` is without `/` at its end. */
  entersFolder(path: string): boolean;
}

/** Null takes everything. @throws REQUEST_INVALID for a pattern that is none */
export function inputFilter(include: readonly string[], exclude: readonly string[]): InputFilter | null {
  if (include.length === 0 && exclude.length === 0) return null;
  const included = include.map((pattern) => compilePattern(wholePattern('include', pattern)));
  const excluded = exclude.map((pattern) => exclusion(wholePattern('exclude', pattern)));
  return {
    takesFile: (path) =>
      !excluded.some((one) => one.file?.match(path) === true) &&
      (included.length === 0 || included.some((one) => one.match(path))),
    entersFolder: (path) =>
      !excluded.some((one) => one.folder.match(path)) &&
      (included.length === 0 || included.some((one) => one.match(path, true))),
  };
}

/** Of a file whose folders nobody has asked about. */
export function takesBelow(filter: InputFilter, path: string): boolean {
  for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
    if (!filter.entersFolder(path.slice(0, end))) return false;
  }
  return filter.takesFile(path);
}

interface Exclusion {
  /** Null: it leaves out folders alone. */
  readonly file: Minimatch | null;
  readonly folder: Minimatch;
}

function exclusion(whole: string): Exclusion {
  // All that is in a folder: the folder need not be opened.
  if (whole.endsWith('/**') && whole !== '**/**') return { file: null, folder: compilePattern(whole.slice(0, -3)) };
  const one = compilePattern(whole);
  return { file: one, folder: one };
}

// From the input on: `*.jpg` is `**/*.jpg`, `raw/` is `**/raw/**`.
function wholePattern(key: string, pattern: string): string {
  const problem = patternProblem(pattern);
  if (problem !== null) throw new BatchError('REQUEST_INVALID', `${key}: ${JSON.stringify(pattern)} ${problem}`);
  const name = pattern.replace(/\/+$/, '');
  const anchored = name.includes('/') ? name : `**/${name}`;
  return pattern.endsWith('/') ? `${anchored}/**` : anchored;
}
