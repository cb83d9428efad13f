/** Pages of the documentation: what they point at is there, each can be reached, and lists in them are whole. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';

const read = (path: string): string => readFileSync(packageFile(...path.split('/')), 'utf8');

const pages = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...['docs', 'examples', 'deploy', 'bench', 'test'].flatMap((folder) =>
    readdirSync(packageFile(folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.md') && !path.includes('node_modules'))
      .map((path) => `${folder}/${path}`),
  ),
];

interface Link {
  readonly page: string;
  /** Relative to the repository root. */
  readonly path: string;
  /** Empty when the link is to the whole page. */
  readonly anchor: string;
}

/** Links to files of the repository; code blocks and other sites are none. */
function linksOf(page: string, text: string): readonly Link[] {
  const found = text.replaceAll(/^```.*?^```/gms, '').matchAll(/\]\((?![a-z]+:)([^)#]*)(?:#([^)]*))?\)/g);
  return [...found].map(([, path = '', anchor = '']) => ({
    page,
    path: path === '' ? page : posix.normalize(posix.join(posix.dirname(page), path)),
    anchor,
  }));
}

/** Paths that a text names between backticks, without a line of shell around them. */
function pathsIn(text: string): readonly string[] {
  const found = text.matchAll(
    /`((?:docs|test|scripts|deploy|examples|bench|schemas|common|worker|coordinator|cli|proto)\/[\w./-]*)`/g,
  );
  return [...found].map(([, path = '']) => path);
}

/** Anchors of headings, as sites that show Markdown make them. */
function anchorsOf(text: string): readonly string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-'),
  );
}

/** What cannot be followed, in words. */
function deadLinks(page: string, text: string): readonly string[] {
  const links = linksOf(page, text);
  const lost = [...links.map(({ path }) => path), ...pathsIn(text)].filter((path) => !existsSync(packageFile(path)));
  const unheaded = links
    .filter(({ path, anchor }) => anchor !== '' && existsSync(packageFile(path)))
    .filter(({ path, anchor }) => !anchorsOf(path === page ? text : read(path)).includes(anchor))
    .map(({ path, anchor }) => `${path}#${anchor}`);
  return [...lost, ...unheaded].map((target) => `${page}: ${target}`);
}

describe('links', () => {
  test.each(pages)('%s: all lead somewhere', (page) => {
    expect(deadLinks(page, read(page))).toEqual([]);
  });

  test('that lead nowhere are found', () => {
    const text =
      '[a](../README.md) [b](gone.md) [c](yaml-files.md#model) [d](yaml-files.md#gone) [e](https://x.y) `docs/gone.md`';
    expect(deadLinks('docs/deployment.md', text)).toEqual([
      'docs/deployment.md: docs/gone.md',
      'docs/deployment.md: docs/gone.md',
      'docs/deployment.md: docs/yaml-files.md#gone',
    ]);
  });
});

test('every page can be reached from the README', () => {
  const reached = new Set(['README.md']);
  for (const page of reached) {
    if (!page.endsWith('.md')) continue;
    for (const { path } of linksOf(page, read(page))) reached.add(path);
  }
  // Pages of test data are for those who look at the data.
  expect(pages.filter((page) => !page.startsWith('test/') && !reached.has(page))).toEqual([]);
});

describe('docs/dependencies.md', () => {
  const page = read('docs/dependencies.md');
  const manifest = JSON.parse(read('package.json')) as Readonly<Record<string, Readonly<Record<string, string>>>>;
  const isNamed = (name: string): boolean =>
    new RegExp(`(?<![\\w@/-])${name.replaceAll('.', '\\.')}(?![\\w/-])`).test(page);

  test('has every runtime dependency with its version and its reason', () => {
    const rows = [...page.matchAll(/^\| (@?[\w/-]+) \| (\d[\w.-]*) \| \S/gm)].map(([, name = '', version = '']) => [
      name,
      version,
    ]);
    expect(Object.fromEntries(rows)).toEqual(manifest['dependencies']);
  });

  test('has those that build and test, in JavaScript and Python', () => {
    const python = ['', '-frameworks', '-tensorflow'].flatMap((kind) =>
      [...read(`test/requirements${kind}.txt`).matchAll(/^([\w-]+)==/gm)].map(([, name = '']) => name),
    );
    expect(python).toContain('uv');
    const wanted = [...Object.keys(manifest['devDependencies'] ?? {}), ...python];
    expect(wanted.filter((name) => !isNamed(name))).toEqual([]);
    expect(['es', 'eslint-plugin', 'xgb'].filter(isNamed)).toEqual([]);
  });
});

describe('docs/host-protocol.md', () => {
  /** Names of the members of the messages, in the source that both sides are compiled from. */
  const members = (file: string, name: string): readonly string[] => {
    const body = new RegExp(`export interface ${name}\\b[^{]*\\{(.*?)^\\}`, 'ms').exec(read(file))?.[1] ?? '';
    const found = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, member = '']) => member);
    // The node measures it; no host sends it.
    return found.filter((member) => member !== 'peakMemoryBytes');
  };

  /** Names between backticks in the table of one message. */
  const tabled = (message: string): readonly string[] => {
    const table = read('docs/host-protocol.md').split(`| of \`${message}\` | what |\n`)[1]?.split('\n\n')[0] ?? '';
    return [...table.matchAll(/`(\w+)`/g)].map(([, name = '']) => name);
  };

  test.each([
    ['init', 'common/core/host-protocol.ts', 'HostInit', 11],
    ['ready', 'common/core/host-protocol.ts', 'HostReady', 3],
    ['score', 'common/core/host-protocol.ts', 'HostScore', 5],
    ['score', 'common/core/host-protocol.ts', 'HostFile', 3],
    ['done', 'common/core/host-protocol.ts', 'HostDone', 5],
    ['done', 'common/core/result.ts', 'ResultSummary', 6],
    ['done', 'common/core/result.ts', 'FileFailure', 3],
    ['failed', 'common/core/host-protocol.ts', 'HostFailed', 2],
    ['failed', 'common/core/batch-error.ts', 'Failure', 3],
  ])('the table of %s has what is in %s: %s', (message, file, name, count) => {
    const found = members(file, name);
    expect(found).toHaveLength(count);
    expect(found.filter((member) => !tabled(message).includes(member))).toEqual([]);
  });
});
