/** The bench against the ceiling, at its smallest: every time that it prints is of rows that were found to be the same. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

interface Line {
  readonly workload: string;
  readonly contender: string;
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakMib: number;
}

const folder = new TempFolder();
afterEach(() => folder.remove());

test('--quick prints its table, and writes the same for other programs and as a picture', () => {
  const dir = folder.path;
  const args = [packageFile('scripts', 'bench.mjs'), 'peers', '--quick', '--results', dir];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    env: { ...process.env, BENCH_DIR: dir },
  });
  expect(stderr).not.toContain('Error');
  expect(status).toBe(0);
  const { lines } = JSON.parse(readFileSync(join(dir, 'peers.json'), 'utf8')) as { readonly lines: readonly Line[] };
  const who = lines.map(({ workload, contender }) => `${workload} ${contender}`).sort();
  expect(who).toEqual([
    'digits batchmill',
    'digits ceiling',
    'large batchmill',
    'large ceiling',
    'large raw gRPC',
    'nothing batchmill',
    'nothing ceiling',
    'table-csv batchmill',
    'table-csv ceiling',
  ]);
  for (const line of lines) {
    expect(line.wallSeconds, line.workload).toBeGreaterThan(0);
    expect(line.cpuSeconds, line.workload).toBeGreaterThan(0);
    expect(stdout).toContain(`| ${line.workload} `);
  }
  expect(readFileSync(join(dir, 'peers.svg'), 'utf8').match(/<rect /g)).toHaveLength(1 + lines.length);
});
