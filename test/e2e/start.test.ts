/** `npm start` as a newcomer runs it, but for the installation: what it prints, and what it leaves. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';

const start = async (): Promise<string> =>
  (await promisify(execFile)(process.execPath, [packageFile('scripts', 'start.mjs')], { cwd: packageFile('.') }))
    .stdout;

test('scores the digits with two nodes, says how well, and can be run again', async () => {
  await start();
  const said = await start();
  expect(said).toContain('accuracy    497 of 500 right (99.4 %)');
  expect(said).toContain('worst digit 7, misread twice:');
  expect(said).toContain('taken for a 1 once: depot-a/scan-106.png');
  expect(said).toContain('taken for a 2 once: depot-a/scan-235.png');
  const shares = /^scored by {3}node-1 (\d+) files, node-2 (\d+) files$/m.exec(said) ?? [];
  expect(Number(shares[1]) + Number(shares[2])).toBe(500);
  for (const command of ['coordinator start', 'worker join', 'job submit']) expect(said).toContain(command);

  const lines = readFileSync(packageFile('out', 'digits', 'predictions.csv'), 'utf8')
    .trimEnd()
    .split('\n');
  expect(lines).toHaveLength(501);
  expect(statSync(packageFile('out', 'digits', '_SUCCESS')).size).toBe(0);
});

test('the program can be executed by itself, as `npm link` and `npx` do', async () => {
  const { stdout } = await promisify(execFile)(packageFile('dist', 'cli', 'main.js'), ['--version']);
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { readonly version: string };
  expect(stdout.trim()).toBe(version);
});

test('modules of the program call one another without a getter between them, but for what is assigned to later', () => {
  const chunks = packageFile('dist', 'program', 'chunks');
  const newest = readdirSync(chunks).filter((name) => name.endsWith('.cjs'));
  const lists = newest.map(
    (name) => /^module\.exports = \{([^;]*)\};\n$/m.exec(readFileSync(join(chunks, name), 'utf8'))?.[1],
  );
  const names = lists.flatMap((list) => list?.split(',') ?? []);
  const getters = names.filter((name) => name.includes('get '));
  expect(names.length).toBeGreaterThan(500);
  expect(getters.length).toBeLessThan(names.length / 10);
});

test('a short command loads few modules, and their code is kept', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-start-'));
  const filter = (path: string): boolean => !path.endsWith('.code');
  for (const path of ['package.json', 'dist/cli/main.js', 'dist/program']) {
    cpSync(packageFile(path), join(dir, path), { recursive: true, filter });
  }
  const program = join(dir, 'dist', 'program');
  const keptBy = async (...args: readonly string[]): Promise<number> => {
    const before = readdirSync(program, { recursive: true }).length;
    await promisify(execFile)(process.execPath, [join(dir, 'dist', 'cli', 'main.js'), ...args], { cwd: dir }).catch(
      () => undefined,
    );
    return readdirSync(program, { recursive: true }).length - before;
  };
  const first = await keptBy('--version');
  expect(first).toBeGreaterThan(0);
  expect(first).toBeLessThanOrEqual(24);
  expect(await keptBy('--version')).toBe(0);
  expect(await keptBy('--help')).toBe(0);
  const more = await keptBy('job', 'submit', 'none.onnx', '--input', 'none', '--output', 'out');
  expect(more).toBeGreaterThan(0);
  expect(more).toBeLessThanOrEqual(48);
  rmSync(dir, { recursive: true });
});
