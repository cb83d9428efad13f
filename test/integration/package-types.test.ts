/** The package as npm packs it, installed in a folder of a user's: a script is checked against its types, and runs. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';

let dir = '';
let installed = '';

interface Done {
  readonly status: number | null;
  readonly text: string;
}

function run(program: string, args: readonly string[], cwd: string): Done {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8', timeout: 60_000 });
  return { status, text: `${stdout}${stderr}` };
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-package-'));
  installed = join(dir, 'node_modules', 'batchmill');
  mkdirSync(installed, { recursive: true });
  const packed = run('npm', ['pack', '--ignore-scripts', '--pack-destination', dir], packageFile());
  expect(packed).toMatchObject({ status: 0 });
  const [tarball = ''] = readdirSync(dir).filter((name) => name.endsWith('.tgz'));
  expect(run('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed], dir)).toMatchObject({ status: 0 });
  // Its dependencies as npm would install them.
  symlinkSync(packageFile('node_modules'), join(installed, 'node_modules'));
  mkdirSync(join(dir, 'inputs'));
  for (const name of ['a.txt', 'b.txt']) writeFileSync(join(dir, 'inputs', name), name.repeat(2));
}, 120_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function check(name: string, code: string): Done {
  const code_ = join(dir, 'code');
  mkdirSync(code_, { recursive: true });
  writeFileSync(join(code_, name), code);
  const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
  const types = ['--types', 'node', '--typeRoots', packageFile('node_modules', '@types')];
  return run(
    process.execPath,
    [packageFile('node_modules', 'typescript', 'bin', 'tsc'), ...flags, ...types, name],
    code_,
  );
}

const script = `import { readFileSync } from 'node:fs';
import type { InputFile, Scorer, ScorerContext } from 'batchmill';

let job = '';
const sizeOf = (file: InputFile): number => readFileSync(file.path).length;

export default {
  init(context: ScorerContext) {
    job = context.job;
  },
  run: (files, context) => context.files.map((file, i) => ({
    file: file.name, bytes: sizeOf(file), isSame: files[i] === file.path, hasJob: job !== '',
  })),
} satisfies Scorer;
`;

describe('the types of the package', () => {
  it('fit a script, which then runs', () => {
    expect(check('score.ts', script)).toEqual({ status: 0, text: '' });
    const main = join(installed, 'dist', 'cli', 'main.js');
    const args = [
      main,
      'run',
      join(dir, 'code', 'score.ts'),
      '--input',
      join(dir, 'inputs'),
      '--output',
      join(dir, 'out'),
    ];
    const done = run(process.execPath, [...args, '--set', 'settings.output.format=csv'], dir);
    expect(done.status, done.text).toBe(0);
    expect(readFileSync(join(dir, 'out', 'predictions.csv'), 'utf8')).toBe(
      'file,bytes,isSame,hasJob\na.txt,10,True,True\nb.txt,10,True,True\n',
    );
  });

  it('find what is wrong in one', () => {
    const wrong = check('wrong.ts', script.replace('file.path).length', 'file.pth).length'));
    expect(wrong.status).not.toBe(0);
    expect(wrong.text).toContain("Property 'pth' does not exist on type 'InputFile'");
  });

  it('are all that can be imported', () => {
    writeFileSync(join(dir, 'use.cjs'), "require('batchmill');\n");
    expect(run(process.execPath, ['use.cjs'], dir).text).toContain('the package batchmill has types only');
  });
});
