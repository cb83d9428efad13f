/** `npm start` as a newcomer runs it, but for the installation: what it prints, and what it leaves. */
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
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
