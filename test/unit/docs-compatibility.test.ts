/** Holds that docs/azure-compatibility.md names tests that there are, and says of each point where it stands. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';

interface Row {
  readonly point: string;
  readonly heldBy: string;
}

/** Rows of all tables with three columns, without their heads. */
function rowsOf(text: string): readonly Row[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| --- '))
    .map((line) => line.split('|').slice(1, -1))
    .map((cells) => ({ point: cells[0]?.trim() ?? '', heldBy: cells.length === 3 ? (cells[2]?.trim() ?? '') : '' }))
    .filter(({ heldBy }) => heldBy !== 'held by');
}

/** What is wrong with a row, in words; none when it is well. */
function problemsOf({ point, heldBy }: Row, read: (path: string) => string | null): readonly string[] {
  const tests = [...heldBy.matchAll(/`([^`]+)` “([^”]+)”/g)];
  if (tests.length === 0 && !heldBy.startsWith('**not yet**')) return [`${point}: no test and no “not yet”`];
  return tests.flatMap(([, path = '', name = '']) => {
    const source = read(path);
    if (source === null) return [`${point}: ${path} does not exist`];
    return source.includes(name) ? [] : [`${point}: ${path} has no test “${name}”`];
  });
}

const fromDisk = (path: string): string | null => {
  const file = packageFile(...path.split('/'));
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
};

describe('docs/azure-compatibility.md', () => {
  const text = readFileSync(packageFile('docs', 'azure-compatibility.md'), 'utf8');

  test('names tests that there are', () => {
    expect(rowsOf(text).flatMap((row) => problemsOf(row, fromDisk))).toEqual([]);
  });

  test('has rows for all sections of the contract', () => {
    expect([...text.matchAll(/^## (\d)/gm)].map(([, section]) => section)).toEqual([...'01234567']);
    expect(rowsOf(text).length).toBeGreaterThan(80);
  });

  test('would not do with a test that has gone, or with none', () => {
    const read = (path: string): string | null => (path === 'a.test.ts' ? "test('one', …" : null);
    const problems = rowsOf(
      '| point | Batchmill | held by |\n| --- | --- | --- |\n| a | b | `a.test.ts` “one” |\n| b | | `a.test.ts` “two” |\n' +
        '| c | d | `b.test.ts` “one” |\n| d | e | |\n| e | f | **not yet** |\n| f | g | h | i |\n',
    ).flatMap((row) => problemsOf(row, read));
    expect(problems).toEqual([
      'b: a.test.ts has no test “two”',
      'c: b.test.ts does not exist',
      'd: no test and no “not yet”',
      'f: no test and no “not yet”',
    ]);
  });
});
