/** What can happen to a job on its way: files that hang or crash their host, no node, a node that leaves, an end on request. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { deferred } from '../../common/io/deferred.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, Program, runProgram, until, type ProgramEnd } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-fate-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

test('files that run() leaves out are counted, and the end says how many and what to do', async () => {
  const texts = Array.from({ length: 30 }, (_, index) => ([3, 4, 25].includes(index) ? 'skip' : `text ${index}`));
  writeInputs(
    join(dir, 'in'),
    texts.map((text, index) => [`f${String(index).padStart(2, '0')}.txt`, text]),
  );
  const run = async (threshold: number): Promise<ProgramEnd> => {
    const deployment = writeDeployment(dir, `skips${threshold}`, {
      script: 'trouble.py',
      environment: { TRACE: join(dir, 'trace.txt') },
      more: [`error_threshold: ${threshold}`],
    });
    const args = ['run', deployment, '--input', 'in', '--output', `out${threshold}`, '--slots', '1'];
    return await runProgram([...args, '--python', testPython(), '-o', 'json'], { cwd: dir });
  };
  const end = await run(3);
  expect(end.code, end.stderr).toBe(0);
  expect(end.stderr).toMatch(
    /; 3 files have no result: run\(\) returned fewer rows .* return at least one row for each/,
  );
  const view = JSON.parse(end.stdout) as JobView;
  expect(view.files).toMatchObject({ total: 30, is_listed: true, scored: 27, failed: 3, missing: 3, skipped: 0 });
  expect(view.last_failure).toMatchObject({ code: 'SCORER_OUTPUT_INVALID', tries: 1, host_exit: null });
  expect(view.last_failure?.peak_memory_bytes).toBeGreaterThan(1_000_000);
  const { text, errors, isComplete } = readOutput(join(dir, 'out3'));
  expect(isComplete).toBe(true);
  expect(text.trimEnd().split('\n')).toHaveLength(27);
  // Which of the files of a mini-batch have none, nobody knows.
  expect(errors.map(({ ordinal }) => ordinal)).toEqual([
    ...Array(10).keys(),
    ...[...Array(10).keys()].map((n) => n + 20),
  ]);
  expect(errors[0]?.message).toContain('run() returned 8 rows for a mini-batch of 10 files and 2 have no result');
  expect(readFileSync(join(dir, 'out3', '_logs', 'job_result.txt'), 'utf8')).toContain('3 files have no result: run()');

  const refused = await run(2);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('ERROR_THRESHOLD_EXCEEDED: 3 files have failed, error_threshold allows 2');
}, 60_000);

test('a job of which nothing ends is stopped after progress_update_timeout, and its processes with it', async () => {
  writeInputs(join(dir, 'in'), [
    ['a.txt', 'hang'],
    ['b.txt', 'hang'],
  ]);
  const deployment = writeDeployment(dir, 'stuck', {
    script: 'trouble.py',
    miniBatchSize: 1,
    environment: { TRACE: join(dir, 'trace.txt') },
    more: ['progress_update_timeout: 2', 'retry_settings:', '  timeout: 3600'],
  });
  const args = ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '2', '--python', testPython()];
  const end = await runProgram([...args, '-o', 'json'], { cwd: dir });
  expect(end.code, end.stderr).toBe(1);
  const { error, status } = JSON.parse(end.stdout) as JobView;
  expect([status, error?.code]).toEqual(['Failed', 'NO_PROGRESS']);
  expect(error?.message).toMatch(/^no attempt has ended since 20\d\d-.*Z, which is longer than the 2 s of/);
  expect(error?.message).toMatch(/being scored: file \d on node-1, file \d on node-1; what they printed is in .*_logs/);
  const hosts = readFileSync(join(dir, 'trace.txt'), 'utf8').match(/(?<=^init )\d+/gm) ?? [];
  expect(hosts).toHaveLength(2);
  expect(hosts.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
}, 60_000);

describe('a file that takes its host down costs itself and nobody else', () => {
  const traceLines = (): readonly string[] => readFileSync(join(dir, 'trace.txt'), 'utf8').trimEnd().split('\n');

  /** Thirty files in mini-batches of ten on one slot, the fifteenth being trouble. */
  async function runWith(trouble: string): Promise<ProgramEnd> {
    const texts = Array.from({ length: 30 }, (_, index) => (index === 14 ? trouble : `text ${index}`));
    writeInputs(
      join(dir, 'in'),
      texts.map((text, index) => [`f${String(index).padStart(2, '0')}.txt`, text]),
    );
    const deployment = writeDeployment(dir, 'trouble', {
      script: 'trouble.py',
      environment: { TRACE: join(dir, 'trace.txt') },
      more: ['retry_settings:', '  max_retries: 2', '  timeout: 3'],
    });
    const args = ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '1', '--python', testPython()];
    return await runProgram(args, { cwd: dir });
  }

  test.each([
    ['hang', 'SCORER_TIMEOUT', 3],
    ['crash', 'SCORER_CRASHED', 3],
  ])('%s', async (trouble, code, failures) => {
    const end = await runWith(trouble);
    expect(end.code, end.stderr).toBe(0);
    const { errors, files, text, isComplete } = readOutput(join(dir, 'out'));
    expect(isComplete).toBe(true);
    expect(errors.map((line) => [line.path, line.code])).toEqual([['f14.txt', code]]);
    expect(files.filter((file) => file.status === 'scored')).toHaveLength(29);
    const wanted = files
      .filter((file) => file.path !== 'f14.txt')
      .map(({ path }) => `${path} text ${Number(path.slice(1, 3))}`);
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((line) => line.replaceAll('"', '')),
    ).toEqual(wanted);
    // Each failure cost its host; each new one was initialised before it scored.
    const lines = traceLines();
    const hosts = lines.filter((line) => line.startsWith('init '));
    expect(new Set(hosts).size).toBe(hosts.length);
    expect(hosts.length).toBeGreaterThanOrEqual(2);
    expect(hosts.length).toBeLessThanOrEqual(1 + failures);
    expect(lines.filter((line) => line === 'run 10').length).toBeGreaterThanOrEqual(3);
    expect(lines).toContain('run 1');
    if (code === 'SCORER_CRASHED') expect(errors[0]?.message).toMatch(/7/);
  });

  test('with isolation: mini_batch, as Azure has it, the whole mini-batch is given up', async () => {
    writeInputs(join(dir, 'in'), [
      ['a.txt', 'fine'],
      ['b.txt', 'raise'],
      ['c.txt', 'fine'],
      ['d.txt', 'fine'],
    ]);
    const deployment = writeDeployment(dir, 'trouble', {
      script: 'trouble.py',
      miniBatchSize: 2,
      environment: { TRACE: join(dir, 'trace.txt') },
      more: ['isolation: mini_batch', 'retry_settings:', '  max_retries: 2'],
    });
    const end = await runProgram(
      ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '1', '--python', testPython()],
      { cwd: dir },
    );
    expect(end.code, end.stderr).toBe(0);
    const { errors, text } = readOutput(join(dir, 'out'));
    expect(errors.map((line) => [line.path, line.code, line.tries])).toEqual([
      ['a.txt', 'SCORER_FAILED', 2],
      ['b.txt', 'SCORER_FAILED', 2],
    ]);
    expect(text.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('in a cluster', () => {
  /** Mini-batches of ten that take `pauseMs` until the file `fast` exists. */
  function slowDeployment(pauseMs: number, more: readonly string[] = []): string {
    const environment = {
      PAUSE_MS: String(pauseMs),
      FAST_WHEN: join(dir, 'fast'),
      TRACE: join(dir, 'trace.txt'),
    };
    return writeDeployment(dir, 'slow', { script: 'hash-rows.mjs', environment, more });
  }

  const begun = (): number =>
    existsSync(join(dir, 'trace.txt'))
      ? (readFileSync(join(dir, 'trace.txt'), 'utf8').match(/^begin /gm) ?? []).length
      : 0;

  test('a job without nodes says what it waits for, and goes on when one joins', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(30));
    const cluster = await ClusterProcesses.start({ dir });
    const job = await cluster.submit([slowDeployment(0), '--input', input, '--output', join(dir, 'out')]);
    const shown = await cluster.job(job, (view) => view.waiting !== null, 'a reason for waiting');
    expect(shown.waiting).toContain('no worker node is connected');
    expect(shown.waiting).toContain('batchmill worker join');
    expect((await cluster.cli(['job', 'show', job, '-o', 'table'])).stdout).toContain('no worker node is connected');
    const waited = cluster.cli(['job', 'wait', job]);
    const listed = cluster.cli(['job', 'stream', job, '-o', 'json']);
    await cluster.startWorker('node-a');
    const end = await waited;
    expect(end.code, end.stderr).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ status: 'Completed', waiting: null, rows: 30 });
    const events = (await listed).stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; message: string });
    expect(events.some((event) => event.kind === 'waiting' && event.message.includes('no worker node'))).toBe(true);
    expect(readOutput(join(dir, 'out')).isComplete).toBe(true);
    expect((await cluster.client.show(job)).name).toBe(job);
  });

  test('job cancel: slots are free at once, what is committed stays, wait answers 4 and stream 0', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(200));
    const cluster = await ClusterProcesses.start({ dir });
    await cluster.startWorker('node-a');
    const job = await cluster.submit([slowDeployment(300), '--input', input, '--output', join(dir, 'out')]);
    const waited = cluster.cli(['job', 'wait', job]);
    const streamed = cluster.cli(['job', 'stream', job]);
    const hasRows = (view: JobView): boolean => view.mini_batches.committed >= 3 && view.output_bytes > 0;
    await cluster.job(job, hasRows, 'some mini-batches');
    const canceled = await cluster.cli(['job', 'cancel', job]);
    expect(canceled.code, canceled.stderr).toBe(0);
    expect((JSON.parse(canceled.stdout) as JobView).status).toMatch(/^Cancel/);
    expect((await waited).code).toBe(4);
    expect((await streamed).code).toBe(0);
    const folder = await until(
      () => existsSync(join(dir, 'out', '_manifest.json')) && readOutput(join(dir, 'out')),
      'a manifest',
    );
    expect(folder.isComplete).toBe(false);
    expect(folder.manifest.verdict).toBe('Canceled');
    const scored = folder.files.filter((file) => file.status === 'scored').length;
    // What still waited for its turn is not in the output.
    expect(scored).toBeGreaterThanOrEqual(10);
    expect(folder.files.filter((file) => file.status === 'unscored')).toHaveLength(200 - scored);
    // The next job does not wait for what was killed, and canceling again changes nothing.
    const next = writeDeployment(dir, 'next', { script: 'hash-rows.mjs' });
    const nextJob = await cluster.submit([next, '--input', input, '--output', join(dir, 'out-2')]);
    await cluster.job(nextJob, (view) => view.status === 'Completed', 'completed');
    expect((await cluster.cli(['job', 'cancel', job])).code).toBe(0);
    await cluster.node('node-a', (node) => node.leases === 0, 'holds nothing');
  });

  test('a node that gets SIGTERM finishes what is running and leaves; the others do the rest', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(300));
    const cluster = await ClusterProcesses.start({ dir });
    const leaving = await cluster.startWorker('node-a');
    await cluster.startWorker('node-b');
    const job = await cluster.submit([slowDeployment(400), '--input', input, '--output', join(dir, 'out')]);
    await cluster.job(job, (view) => view.mini_batches.committed >= 4, 'some mini-batches');
    leaving.signal('SIGTERM');
    const end = await leaving.endsWithin(20_000);
    expect([end.code, end.signal], end.stderr).toEqual([0, null]);
    expect(end.stderr).toContain('leaving once what is running is scored');
    await cluster.node('node-a', (node) => node.state === 'gone' && node.leases === 0, 'is gone');
    writeFileSync(join(dir, 'fast'), '');
    const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed');
    // In order means that nothing was scored in vain.
    expect(done.mini_batches).toMatchObject({ total: 30, committed: 30, failed_tries: 0 });
    expect(begun()).toBe(30);
    expect(done.rows).toBe(300);
    expect(existsSync(join(cluster.scratchDir('node-a'), 'nodes', 'node-a', 'spool'))).toBe(false);
  });

  test('the coordinator gets SIGTERM between two jobs and in one: a restart goes on, nodes come back by themselves', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(300));
    const cluster = await ClusterProcesses.start({ dir });
    await cluster.startWorker('node-a');
    const job = await cluster.submit([slowDeployment(200), '--input', input, '--output', join(dir, 'out')]);
    const streamed = new Program(['job', 'stream', job, '--server', cluster.http], { cwd: dir });
    // Whoever has not heard of the coordinator yet takes it for one that was never started.
    await streamed.says(/Running/);
    await cluster.job(job, (view) => view.mini_batches.committed >= 4, 'some mini-batches');
    cluster.coordinator.signal('SIGTERM');
    expect((await cluster.coordinator.endsWithin(20_000)).code).toBe(0);
    await cluster.restartCoordinator();
    const end = await streamed.endsWithin(90_000);
    expect(end.code, end.stderr).toBe(0);
    expect(readOutput(join(dir, 'out')).files.filter((file) => file.status === 'scored')).toHaveLength(300);
  });
});

describe('Ctrl-C in run', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s cancels in order and leaves no process and no scratch',
    async (signal) => {
      const input = writeInputs(join(dir, 'in'), smallFiles(200));
      const deployment = writeDeployment(dir, 'slow', { script: 'hash-rows.mjs', environment: { PAUSE_MS: '300' } });
      const scratch = join(dir, 'tmp');
      writeInputs(scratch, []);
      const args = ['run', deployment, '--input', input, '--output', join(dir, 'out'), '--slots', '1'];
      const program = new Program(args, { cwd: dir, environment: { TMPDIR: scratch } });
      const partial = join(dir, 'out', 'predictions.csv.partial');
      // Those of a second mini-batch: then the first one is not only written but committed.
      const rows = (): number => readFileSync(partial, 'utf8').split('\n').length - 1;
      await program.until(() => existsSync(partial) && rows() >= 20, 'first rows');
      const hosts = program.children();
      expect(hosts).toHaveLength(1);
      program.signal(signal);
      // Kernel and shell both tell of a terminal that goes; twice is no hurry then.
      await program.says(/once more to stop at once/);
      if (signal === 'SIGHUP') program.signal(signal);
      const end = await program.endsWithin(20_000);
      expect([end.code, end.signal], end.stderr).toEqual([4, null]);
      expect(JSON.parse(end.stdout)).toMatchObject({ status: 'Canceled' });
      expect(end.stderr).toContain('once more to stop at once');
      const { manifest, files, isComplete } = readOutput(join(dir, 'out'));
      expect([manifest.verdict, isComplete]).toEqual(['Canceled', false]);
      expect(files.filter((file) => file.status === 'scored').length).toBeGreaterThanOrEqual(10);
      for (const pid of hosts) await until(() => !existsSync(`/proc/${pid}`), `the end of host ${pid}`);
      expect(readdirSync(scratch)).toEqual([]);
    },
  );

  test('while a store that says nothing is listed ends the run, and leaves nothing', async () => {
    const asked = deferred<void>();
    const server = createServer(() => asked.resolve()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const input = `http://127.0.0.1:${(server.address() as AddressInfo).port}/in/`;
    const deployment = writeDeployment(dir, 'silent', { script: 'hash-rows.mjs' });
    const scratch = join(dir, 'tmp');
    writeInputs(scratch, []);
    const args = ['run', deployment, '--input', input, '--output', join(dir, 'out')];
    const program = new Program(args, { cwd: dir, environment: { TMPDIR: scratch } });
    try {
      await asked.promise;
      program.signal('SIGINT');
      const end = await program.endsWithin(20_000);
      expect([end.code, end.stdout, end.stderr]).toEqual([4, '', expect.stringContaining('error JOB_CANCELED: ')]);
      expect([readdirSync(scratch), existsSync(join(dir, 'out'))]).toEqual([[], false]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

test('run goes on when nobody reads any more what it tells', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(40));
  const deployment = writeDeployment(dir, 'told', { script: 'hash-rows.mjs', environment: { PAUSE_MS: '100' } });
  const scratch = join(dir, 'tmp');
  writeInputs(scratch, []);
  const program = new Program(['run', deployment, '--input', input, '--output', join(dir, 'out'), '--slots', '1'], {
    cwd: dir,
    environment: { TMPDIR: scratch },
    prefix: ['bash', '-c', 'set -o pipefail; "$@" 2>&1 >answer.json | head -1', 'sh'],
  });
  const end = await program.endsWithin(60_000);
  expect([end.code, end.stdout.split('\n').length]).toEqual([0, 2]);
  expect(JSON.parse(readFileSync(join(dir, 'answer.json'), 'utf8'))).toMatchObject({ status: 'Completed' });
  expect([readOutput(join(dir, 'out')).isComplete, readdirSync(scratch)]).toEqual([true, []]);
});
