import { describe, expect, it } from 'vitest';
import { patternProblem } from '../../common/config/input-pattern.ts';
import { limits } from '../../common/core/limits.ts';
import { emptyInputText } from '../../common/core/input-selection.ts';
import { noneSkipped } from '../../common/core/skipped-names.ts';
import { inputFilter } from '../../coordinator/input/input-filter.ts';
import { failing } from '../helpers/failing.ts';

/** Those of `paths` that are listed, as a walk through their folders finds them. */
function taken(paths: readonly string[], include: readonly string[], exclude: readonly string[] = []): string[] {
  const filter = inputFilter(include, exclude);
  if (filter === null) return [...paths];
  const isReached = (path: string): boolean => {
    const parts = path.split('/').slice(0, -1);
    return parts.every((_, index) => filter.entersFolder(parts.slice(0, index + 1).join('/')));
  };
  return paths.filter((path) => isReached(path) && filter.takesFile(path));
}

const tree = ['a.jpg', 'B.JPG', 'a.png', 'raw/a.jpg', 'raw/deep/b.jpg', 'raw/deep/c.txt', 'x/raw/d.jpg', 'x/y/z/e.jpg'];

describe('patterns of input files', () => {
  it.each([
    ['none: everything', [], [], tree],
    ['a name at any depth, case-sensitive', ['*.jpg'], [], tree.filter((path) => path.endsWith('.jpg'))],
    ['with a slash from the input on', ['raw/*'], [], ['raw/a.jpg']],
    ['** crosses folders', ['raw/**'], [], ['raw/a.jpg', 'raw/deep/b.jpg', 'raw/deep/c.txt']],
    ['* does not', ['x/*/*.jpg'], [], ['x/raw/d.jpg']],
    ['** between folders is none or many', ['x/**/e.jpg', 'x/**/raw/d.jpg'], [], ['x/raw/d.jpg', 'x/y/z/e.jpg']],
    ['a folder at any depth', ['raw/'], [], ['raw/a.jpg', 'raw/deep/b.jpg', 'raw/deep/c.txt', 'x/raw/d.jpg']],
    ['braces, classes, question marks', ['{a,b}.[jp]?g'], [], ['a.jpg', 'a.png', 'raw/a.jpg', 'raw/deep/b.jpg']],
    ['what excludes wins', ['*.jpg'], ['raw/**', 'x/'], ['a.jpg']],
    ['a name that is a folder’s excludes it', [], ['raw', '*.png'], ['a.jpg', 'B.JPG', 'x/y/z/e.jpg']],
    ['all that is in folders', [], ['*/**'], ['a.jpg', 'B.JPG', 'a.png']],
    ['everything', [], ['**'], []],
    ['a quoted star is a star', ['\\*.jpg'], [], []],
    [
      'an exclusion in a folder that is included',
      ['raw/**'],
      ['deep/*.txt', '**/deep/*.txt'],
      ['raw/a.jpg', 'raw/deep/b.jpg'],
    ],
  ] as const)('%s', (_, include, exclude, wanted) => {
    expect(taken(tree, include, exclude)).toEqual(wanted);
  });

  it.each([
    ['', 'is empty'],
    ['!a', 'begins with "!"'],
    ['/a', 'begins with "/"'],
    ['a/../b', 'has "." or ".."'],
    ['./a', 'has "." or ".."'],
    ['[ab', 'has "[" without its end'],
    ['{a,b', 'has "{" without its end'],
    ['a\0b', 'zero byte'],
    ['a'.repeat(limits.inputPatternCharsMax + 1), 'is longer than'],
    ['{a,b}'.repeat(30), `more than ${limits.inputPatternAlternativesMax} patterns`],
  ])('%j is refused', (pattern, words) => {
    expect(patternProblem(pattern)).toContain(words);
    expect(() => inputFilter([], [pattern])).toThrow(failing('REQUEST_INVALID', `exclude: ${JSON.stringify(pattern)}`));
  });

  it.each(['!(a).jpg', '\\[ab', '\\{a', '[[]x', 'a]', '#1.txt', 'a b', '{a,b}{c,d}', '{1..99999}'])(
    '%j is fine',
    (pattern) => {
      expect(patternProblem(pattern)).toBeNull();
    },
  );

  it('takes no time to see that a name does not match, however the pattern is made', () => {
    const filter = inputFilter([`${'*a'.repeat(40)}b`, `${'+(+(a))'.repeat(9)}b`, `${'**/a/'.repeat(20)}b`], []);
    expect(filter?.takesFile(`${'a/'.repeat(60)}${'a'.repeat(200)}c`)).toBe(false);
  });
});

describe('an input without files', () => {
  const selection = { include: ['*.jpg'], exclude: [], recursive: true, list: null };

  it('says what was passed over, and by which patterns', () => {
    expect(emptyInputText('/in', selection, noneSkipped())).toBe('/in holds no file to score');
    expect(emptyInputText('/in', selection, { ...noneSkipped(), hidden: 2, loops: 1, excluded: 7 })).toBe(
      "/in holds no file to score; 10 names were passed over: 2 hidden, 1 links to a folder around them, 7 excluded (--include '*.jpg')",
    );
    expect(emptyInputText('/in', { ...selection, include: [] }, 1)).toBe(
      '/in holds no file to score; 1 name was passed over',
    );
  });
});
