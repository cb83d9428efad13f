/**
 * What a stranger can rely on: rows that are final while the job runs, across a killed coordinator, and afterwards a signed manifest
 * that says, offline, whether the folder and the inputs are what they were.
 */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { VerifyReport } from '../../coordinator/verify/verify-output.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, Program, runProgram } from '../helpers/programs.ts';

const files = 400;

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-certificate-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

async function verify(
  ...more: readonly string[]
): Promise<{ readonly code: number | null; readonly report: VerifyReport }> {
  const end = await runProgram(['job', 'verify', join(dir, 'out'), '--json', ...more], { cwd: dir });
  if (end.stdout === '') throw new Error(end.stderr);
  return { code: end.code, report: JSON.parse(end.stdout) as VerifyReport };
}

const codes = ({ report }: { readonly report: VerifyReport }): readonly (readonly [string, string])[] =>
  report.findings.map(({ code, path }) => [code, path] as const);

test('rows are final up to the published offset, and the sealed folder proves itself', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(files));
  const fast = join(dir, 'fast');
  const slow = writeDeployment(dir, 'slow', {
    script: 'hash-rows.mjs',
    environment: { PAUSE_MS: '200', FAST_WHEN: fast },
    more: ['output:', '  format: csv'],
  });
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node-a');
  const job = await cluster.submit([slow, '--input', input, '--output', join(dir, 'out')]);
  const tail = new Program(['job', 'tail', job, '--lines', 'all', '--follow', '--server', cluster.http], { cwd: dir });
  const partial = join(dir, 'out', 'predictions.csv.partial');
  const prefixes: Buffer[] = [];
  const look = async (atLeast: number): Promise<void> => {
    const { output_bytes: bytes } = await cluster.job(job, (view) => view.output_bytes > atLeast, 'more rows');
    prefixes.push(readFileSync(partial).subarray(0, bytes));
  };
  await look(0);
  await look(prefixes[0]?.length ?? 0);
  await tail.until(() => tail.stdout.split('\n').length > 20, 'rows while the job runs');

  await cluster.coordinator.kill();
  await tail.until(() => tail.stderr.includes('connection lost'), 'a word of the lost connection');
  await cluster.restartCoordinator();
  const again = await cluster.job(job, () => true, 'an answer');
  expect(again.output_bytes).toBeGreaterThanOrEqual(prefixes.at(-1)?.length ?? 0);
  // What lies behind the offset is nobody's business yet, and no request gets it.
  const grown = statSync(partial).size;
  const url = `http://${cluster.http}/v1/jobs/${job}/output/predictions.csv.partial`;
  const reply = await fetch(url, { method: 'HEAD' });
  expect(Number(reply.headers.get('content-length'))).toBeLessThanOrEqual(grown);
  await look(again.output_bytes);
  writeFileSync(fast, '');
  const end = await tail.endsWithin(60_000);
  expect(end.code, end.stderr).toBe(0);
  const output = readFileSync(join(dir, 'out', 'predictions.csv'));
  expect(end.stdout).toBe(output.toString());
  for (const prefix of prefixes) {
    expect(prefix.length).toBeGreaterThan(0);
    expect(output.subarray(0, prefix.length).equals(prefix)).toBe(true);
  }
  const last = await cluster.cli(['job', 'tail', job, '--lines', '2']);
  expect(last.stdout).toBe(`${output.toString().trimEnd().split('\n').slice(-2).join('\n')}\n`);

  const printed = await runProgram(['coordinator', 'key', '--state-dir', cluster.stateDir, '-o', 'table'], {
    cwd: dir,
  });
  expect(printed.stdout).toMatch(/^-----BEGIN PUBLIC KEY-----/);
  writeFileSync(join(dir, 'key.pem'), printed.stdout);
  expect(statSync(join(cluster.stateDir, 'signing-key.pem')).mode & 0o777).toBe(0o600);
  const trusted = ['--key', join(dir, 'key.pem')];
  const whole = await verify(...trusted);
  expect(whole).toMatchObject({ code: 0, report: { is_valid: true, signature: 'given-key', findings: [] } });
  expect(whole.report).toMatchObject({ files, rows: files, inputs_checked: files, input_path: input });

  // One thing after the other; each stays as it is, so that the list of what is wrong grows.
  appendFileSync(join(input, 'part-001', 'file-00123.txt'), 'more');
  unlinkSync(join(input, 'part-002', 'file-00234.txt'));
  const wrong: (readonly [string, string])[] = [
    ['INPUT_CHANGED', 'part-001/file-00123.txt'],
    ['INPUT_UNREADABLE', 'part-002/file-00234.txt'],
  ];
  expect(codes(await verify(...trusted))).toEqual(wrong);
  const bytes = Buffer.from(output);
  bytes[1_000] = (bytes[1_000] as number) ^ 1;
  writeFileSync(join(dir, 'out', 'predictions.csv'), bytes);
  wrong.push(['OUTPUT_CORRUPT', 'predictions.csv']);
  const damaged = await verify(...trusted);
  expect(damaged.code).toBe(1);
  expect(codes(damaged)).toEqual(wrong);
  const manifest = join(dir, 'out', '_manifest.json');
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(job, `${job}x`));
  expect(codes(await verify(...trusted))).toEqual([['SIGNATURE_INVALID', '_manifest.jws'], ...wrong]);
});

test('run has no lasting key: its manifest is not signed, and verify says so', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(20));
  const calm = writeDeployment(dir, 'calm', { script: 'hash-rows.mjs' });
  const end = await runProgram(['run', calm, '--input', input, '--output', join(dir, 'out')], { cwd: dir });
  expect(end.code, end.stderr).toBe(0);
  expect(await verify()).toMatchObject({ code: 0, report: { is_valid: true, signature: 'none', signed_by: null } });
  const told = await runProgram(['job', 'verify', join(dir, 'out'), '-o', 'table'], { cwd: dir });
  expect(told.stdout).toContain('`batchmill run` has no lasting key');
});
