/** Glob patterns that choose input files, before they are matched against any. */
import { Minimatch, type MinimatchOptions } from 'minimatch';
import { limits } from '../core/limits.ts';

/** A `!` or a `#` at the start means itself; names that begin with a dot are not special here, as they are never listed. */
const globOptions: MinimatchOptions = {
  dot: true,
  nonegate: true,
  nocomment: true,
  braceExpandMax: limits.inputPatternAlternativesMax + 1,
};

/** Why a pattern is none that could ever be meant, in words that follow its name; null for a good one. */
export function patternProblem(pattern: string): string | null {
  if (pattern === '') return 'is empty';
  if (pattern.length > limits.inputPatternCharsMax) {
    return `is longer than ${limits.inputPatternCharsMax} characters; an input list names files one by one`;
  }
  if (pattern.includes('\0')) return 'has a zero byte';
  if (/^!(?!\()/.test(pattern)) return 'begins with "!"; exclude leaves files out (a name that begins so: "\\!")';
  if (pattern.startsWith('/')) return 'begins with "/"; patterns are relative to the input';
  const parts = pattern.split('/');
  if (parts.includes('..') || parts.includes('.'))
    return 'has "." or ".." as a folder; patterns are relative to the input';
  const open = unclosed(pattern);
  if (open !== null) return `has "${open}" without its end; put "\\" before one that means itself`;
  if (compilePattern(pattern).globSet.length > limits.inputPatternAlternativesMax) {
    return `stands for more than ${limits.inputPatternAlternativesMax} patterns by its braces`;
  }
  return null;
}

/** For the paths of files and folders below the input, without `/` at the end. */
export function compilePattern(pattern: string): Minimatch {
  return new Minimatch(pattern, globOptions);
}

/** The first bracket or brace that is never closed. */
function unclosed(pattern: string): string | null {
  const ends: Readonly<Record<string, string>> = { '[': ']', '{': '}' };
  for (let at = 0; at < pattern.length; at += 1) {
    const char = pattern.charAt(at);
    if (char === '\\') at += 1;
    const end = ends[char];
    if (end === undefined) continue;
    const close = pattern.indexOf(end, at + 1);
    if (close < 0) return char;
    // What stands in a class is no bracket; braces nest.
    if (char === '[') at = close;
  }
  return null;
}
