/**
 * Holds the house: floors, purity of core/ folders, no import cycles, and the few bans that go with them. Each rule is
 * first shown what it must refuse.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../common/io/package-files.ts';
import {
  anyViolations,
  barrelViolations,
  clockViolations,
  cycleViolations,
  defaultExportViolations,
  environmentViolations,
  floorViolations,
  nameViolations,
  purityViolations,
  type Rule,
  type Source,
} from './helpers/tidy-rules.ts';

function sourcesBelow(folders: readonly string[]): readonly Source[] {
  return folders
    .filter((folder) => existsSync(join(packageRoot, folder)))
    .flatMap((folder) =>
      readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
        .map((path) => `${folder}/${path}`)
        .filter((path) => path.endsWith('.ts') && !path.startsWith('common/rpc/generated/'))
        .filter((path) => !path.includes('node_modules/')),
    )
    .map((path) => ({ path, text: readFileSync(join(packageRoot, path), 'utf8') }));
}

const program = sourcesBelow(['common', 'coordinator', 'worker', 'cli']);
const tests = sourcesBelow(['test', 'bench']);

/** Modules and packages that are loaded with `entries`, whatever happens then. */
function loadedWith(entries: readonly string[]): ReadonlySet<string> {
  const texts = new Map(program.map(({ path, text }) => [path, text]));
  const loaded = new Set(entries);
  for (const path of loaded) {
    const text = texts.get(path)?.replaceAll(/^(?:import|export) type [^;]*;/gms, '') ?? '';
    for (const [, from = ''] of text.matchAll(/^(?:import|export)\b(?:[^;']*? from)? '([^']+)';/gm)) {
      if (!from.startsWith('node:')) loaded.add(from.startsWith('.') ? join(path, '..', from) : from);
    }
  }
  return loaded;
}

test('run and scoring hosts load few packages before they do anything', () => {
  const packagesOf = (...entries: readonly string[]): readonly string[] =>
    [...loadedWith(entries)].filter((one) => !one.endsWith('.ts')).sort();
  const shared = ['minimatch', 'yaml', 'zod'];
  expect(packagesOf('cli/main.ts')).toEqual(['commander', 'minimatch', 'zod']);
  expect(packagesOf('cli/main.ts', 'cli/commands/run.ts')).toEqual(['commander', ...shared]);
  expect(packagesOf('cli/embedded.ts')).toEqual(['@grpc/grpc-js', 'minimatch', 'protobufjs', 'yaml', 'zod']);
  expect(packagesOf('worker/scorers/node-host.ts', 'worker/scorers/onnx-scorer.ts')).toEqual([]);
});

test('the sources are there to be looked at', () => {
  for (const folder of ['common/core/', 'coordinator/core/', 'worker/core/', 'cli/']) {
    expect([folder, program.filter(({ path }) => path.startsWith(folder)).length]).not.toEqual([folder, 0]);
  }
});

/** Paths with texts as sources. */
const given = (files: Readonly<Record<string, string>>): readonly Source[] =>
  Object.entries(files).map(([path, text]) => ({ path, text }));

interface House {
  readonly name: string;
  readonly rule: Rule;
  readonly over: readonly Source[];
  /** Each must be refused by itself, and exactly once. */
  readonly refused: readonly Readonly<Record<string, string>>[];
  /** Must be let through. */
  readonly allowed: Readonly<Record<string, string>>;
}

const house: readonly House[] = [
  {
    name: 'floors: cli, then coordinator and worker, then common',
    rule: floorViolations,
    over: program,
    refused: [
      { 'worker/a.ts': "import { b } from '../coordinator/b.ts';" },
      { 'coordinator/a.ts': "import type { B } from '../worker/core/b.ts';" },
      { 'common/io/a.ts': "export { b } from '../../cli/b.ts';" },
      { 'coordinator/x/a.ts': "const b = await import('../../cli/b.ts');" },
      { 'worker/a.ts': "type B = import('../coordinator/b.ts').B;" },
      { 'cli/a.ts': "import { b } from '../test/helpers/b.ts';" },
    ],
    allowed: {
      'cli/a.ts': "import '../coordinator/b.ts'; import '../worker/b.ts'; import '../common/b.ts'; import './c.ts';",
      'worker/a.ts': "import '../common/b.ts'; import 'node:fs'; import 'zod';",
    },
  },
  {
    name: 'a core is pure',
    rule: purityViolations,
    over: program,
    refused: [
      { 'worker/core/a.ts': "import { readFile } from 'node:fs';" },
      { 'coordinator/core/a.ts': "import { z } from 'zod';" },
      { 'coordinator/core/a.ts': "import { x } from '../journal/x.ts';" },
      { 'coordinator/core/deep/a.ts': "import type { X } from '../../api/x.ts';" },
      { 'common/core/a.ts': 'export function f(): number { return Date.now(); }' },
      { 'common/core/a.ts': 'export const x = new Date();' },
      { 'common/core/a.ts': 'export const x = Math.random();' },
      { 'common/core/a.ts': 'setTimeout(f, 1);' },
      { 'common/core/a.ts': 'export const f = () => ({ process });' },
      { 'common/core/a.ts': 'export async function f(): Promise<void> {}' },
      { 'common/core/a.ts': 'await f();' },
      { 'common/core/a.ts': 'for await (const x of y) f(x);' },
    ],
    allowed: {
      'worker/core/a.ts': "import { b } from '../../common/core/b.ts'; import type { C } from './c.ts';",
      'common/core/b.ts':
        'export const f = (process: number, x: { fetch: number }) => ({ crypto: process, a: x.fetch, d: new Date(5) });',
      'common/io/c.ts': "import 'node:fs'; await setTimeout(1);",
    },
  },
  {
    name: 'no import cycles',
    rule: cycleViolations,
    over: program,
    refused: [
      {
        'common/a.ts': "import './b.ts';",
        'common/b.ts': "export { c } from './c.ts';",
        'common/c.ts': "import './a.ts';",
      },
      { 'common/a.ts': "import { a } from './a.ts';" },
      { 'common/a.ts': "import { type B } from './b.ts';", 'common/b.ts': "import { a } from './a.ts';" },
    ],
    allowed: {
      'common/a.ts': "import { b } from './b.ts'; import { c } from './c.ts';",
      'common/b.ts': "import type { A } from './a.ts'; import { c } from './c.ts';",
      'common/c.ts': "export const load = () => import('./a.ts');",
    },
  },
  {
    name: 'no any',
    rule: anyViolations,
    over: [...program, ...tests],
    refused: [
      { 'a.ts': 'const x: any = 1;' },
      { 'a.ts': 'const x = y as any;' },
      { 'a.ts': 'function f(x: Map<string, any>): void {}' },
    ],
    allowed: { 'a.ts': "const any = 'any'; // any\nconst x = { any }.any; Promise.any([]);" },
  },
  {
    name: 'no default exports',
    rule: defaultExportViolations,
    over: program,
    refused: [
      { 'a.ts': 'export default 1;' },
      { 'a.ts': 'export default function f() {}' },
      { 'a.ts': 'const x = 1; export { x as default };' },
    ],
    allowed: { 'a.ts': "export const x = { default: 1 }; import y from 'yaml'; switch (1) { default: }" },
  },
  {
    name: 'no barrels',
    rule: barrelViolations,
    over: program,
    refused: [{ 'a.ts': "export { b } from './b.ts';\nexport * from './c.ts';" }],
    allowed: {
      'a.ts': "export { b } from './b.ts'; export const c = 1;",
      'b.ts': 'const x = 1; export { x };',
      'c.ts': '',
    },
  },
  {
    name: 'names',
    rule: nameViolations,
    over: program,
    refused: [
      { 'common/camelCase.ts': '' },
      { 'common/utils/a.ts': '' },
      { 'common/path-utils.ts': '' },
      { 'Cli/a.ts': '' },
    ],
    allowed: { 'common/core/batch-error.ts': '', 'cli/a1.ts': '' },
  },
  {
    name: 'clocks and chance only in common/io',
    rule: clockViolations,
    over: program,
    refused: [
      { 'worker/a.ts': 'const t = Date.now();' },
      { 'worker/a.ts': 'const t = globalThis.Date.now();' },
      { 'worker/a.ts': "const t = performance['now']();" },
      { 'worker/a.ts': 'const t = process.hrtime.bigint();' },
      { 'worker/a.ts': 'const t = new Date();' },
      { 'cli/a.ts': 'const random = Math.random;' },
    ],
    allowed: {
      'common/io/clock.ts': 'const t = Date.now() + Math.random();',
      'worker/a.ts': 'const t = new Date(5).toISOString() + clock.now() + Math.round(1) + Date.parse(x);',
    },
  },
  {
    name: 'the environment is read in common/config only',
    rule: environmentViolations,
    over: program,
    refused: [
      { 'cli/a.ts': "const x = process.env['HOME'];" },
      { 'cli/a.ts': 'const x = globalThis.process.env.HOME;' },
      { 'cli/a.ts': 'const { env } = process;' },
      { 'cli/a.ts': 'const { env: mine } = process;' },
      { 'cli/a.ts': "import { env } from 'node:process';" },
    ],
    allowed: {
      'common/config/a.ts': 'const x = process.env;',
      'worker/a.ts': 'const x = options.env; const { env } = options; f({ env }, process.pid);',
    },
  },
];

describe.each(house)('$name', ({ rule, over, refused, allowed }) => {
  test('the rule refuses what it must, and only that', () => {
    for (const files of refused) expect([files, rule(given(files)).length]).toEqual([files, 1]);
    expect(rule(given(allowed))).toEqual([]);
  });

  test('the house keeps it', () => {
    expect(rule(over)).toEqual([]);
  }, 30_000);
});
