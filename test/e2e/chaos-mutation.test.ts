/** Chaos finds a program that loses every seventh commit: a minute of it without a defect means something. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';

interface Change {
  readonly file: string;
  readonly from: string | RegExp;
}

test('every mutation changes a text that is in the compiled program, once', async () => {
  const { mutations } = (await import(packageFile('scripts', 'chaos-mutations.mjs'))) as {
    readonly mutations: ReadonlyMap<string, readonly Change[]>;
  };
  const places = [...mutations].flatMap(([name, changes]) =>
    changes.map(({ file, from }) => [
      name,
      file,
      readFileSync(packageFile('dist', file), 'utf8').split(from).length - 1,
    ]),
  );
  expect(places.filter(([, , times]) => times !== 1)).toEqual([]);
});

test('npm run chaos -- --mutation seventh-commit finds it', { timeout: 240_000 }, async () => {
  const args = ['--mutation', 'seventh-commit', '--minutes', '2', '--seed', '697'];
  const child = spawn(process.execPath, [packageFile('scripts', 'chaos.mjs'), ...args]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (said += text.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  expect(said).toContain('mutation seventh-commit was found');
  // By what it is, not by something that breaks because of it.
  expect(said).toMatch(
    /^DEFECT: a worker node was told that [\d., ]+ is committed, and the journal has no record of it$/m,
  );
  expect(code).toBe(0);
});
