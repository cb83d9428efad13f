import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Grant, JobSpec } from '../../common/core/cluster-messages.ts';
import { jobName } from '../../common/core/ids.ts';
import type { Token } from '../../common/core/token.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { createLog } from '../../common/io/log.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { formatListing } from '../../common/storage/artifact-listing.ts';
import { startWorker, type WorkerHandle, type WorkerOptions } from '../../worker/worker.ts';
import { FakeCoordinator, type FakeCoordinatorOptions } from '../helpers/fake-coordinator.ts';
import { testPython } from '../helpers/python.ts';

const job = jobName('job-1');

let dir: string;
let lines: string[];
const workers: WorkerHandle[] = [];
const coordinators: FakeCoordinator[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-worker-'));
  lines = [];
});

afterEach(async () => {
  await Promise.allSettled(workers.splice(0).map((worker) => worker.close()));
  for (const coordinator of coordinators.splice(0)) coordinator.kill();
  rmSync(dir, { recursive: true, force: true });
});

async function coordinator(options: FakeCoordinatorOptions = {}, address?: string): Promise<FakeCoordinator> {
  const started = await FakeCoordinator.start(options, address);
  coordinators.push(started);
  return started;
}

async function worker(address: string, options: Partial<WorkerOptions> = {}): Promise<WorkerHandle> {
  const started = await startWorker({
    address,
    token: 'join-me',
    name: 'node-1',
    slots: 1,
    python: testPython(),
    scratchDir: join(dir, 'scratch'),
    environment: { PATH: '/usr/bin:/bin', BATCHMILL_TOKEN: 'secret' },
    log: createLog({ write: (line) => lines.push(line), format: 'text', level: 'debug', clock: systemClock }),
    clock: systemClock,
    random: () => 0,
    ...options,
  });
  workers.push(started);
  return started;
}

/** A worker node that the coordinator has heard of. */
async function member(fake: FakeCoordinator, options: Partial<WorkerOptions> = {}): Promise<WorkerHandle> {
  const heard = fake.messages.length;
  const started = await worker(fake.address, options);
  await fake.until('hello', () => fake.messages.slice(heard).some((message) => message.hello !== null));
  return started;
}

/** Serves a code folder with one script. */
function pythonJob(fake: FakeCoordinator, script: string, overrides: Partial<JobSpec> = {}): JobSpec {
  const bytes = Buffer.from(script);
  const listing = formatListing([
    { path: 'score.py', digest: fake.addArtifact(bytes), bytes: bytes.length, mode: 0o644 },
  ]);
  return {
    name: job,
    deployment: 'tiny',
    scorer: { kind: 'python', script: 'score.py' },
    model: null,
    code: { kind: 'folder', name: 'code', digest: fake.addArtifact(listing), bytes: bytes.length },
    environment: { kind: 'host', python: null },
    settings: {
      timeoutMs: 20_000,
      outputFormat: 'azure',
      outputAction: 'append_row',
      loggingLevel: 'info',
      environmentVariables: {},
      customOutput: 'collected',
      outputFileName: null,
      memoryBytesMax: null,
      concurrencyMax: null,
    },
    owner: 'local',
    inputRoot: join(dir, 'in'),
    attemptsLocation: null,
    outputDir: null,
    ...overrides,
  };
}

/** Writes input files and grants them as one mini-batch. */
function grantOf(counter: number, contents: Readonly<Record<string, string>>, first = counter * 10): Grant {
  const files = Object.entries(contents).map(([path, text]) => {
    const local = join(dir, 'in', path);
    mkdirSync(join(local, '..'), { recursive: true });
    writeFileSync(local, text);
    const { size, mtimeNs } = statSync(local, { bigint: true });
    return { path, sizeBytes: Number(size), identity: `${size}-${mtimeNs}` };
  });
  return { token: { epoch: 1, counter }, job, first, files, attempt: 1, isAlone: false };
}

const echo = `
import os
def init():
    print("init done", flush=True)
def run(mini_batch):
    print("scoring", len(mini_batch), flush=True)
    return [os.path.basename(p) + " " + open(p).read() for p in mini_batch]
`;

describe('a worker node', () => {
  it('scores what it is granted, reports the bytes, and leaves nothing behind but logs', async () => {
    const fake = await coordinator();
    const node = await member(fake);
    expect(fake.joins).toMatchObject([{ joinToken: 'join-me', name: 'node-1', slots: 1, protocol: 1 }]);
    const hello = await fake.until('hello', () => fake.messages[0]);
    expect(hello).toMatchObject({ hello: [], want: 1 + limits.workAheadMin });
    fake.send({
      jobs: [pythonJob(fake, echo)],
      grants: [grantOf(1, { 'a.txt': 'A', 'sub/b.txt': 'B' }), grantOf(2, { 'c.txt': 'C' })],
    });
    await fake.until('both results', () => fake.results.length === 2);
    const [first, second] = fake.results;
    expect(first?.report).toMatchObject({
      token: { epoch: 1, counter: 1 },
      isUploaded: false,
      bytes: 16,
      crc32: crc32('a.txt A\nb.txt B\n'),
    });
    expect(first?.bytes.toString()).toBe('a.txt A\nb.txt B\n');
    expect(first?.report.summary).toMatchObject({
      rows: 2,
      attribution: 'positional',
      fileRows: [1, 1],
      failed: [],
      schema: null,
    });
    expect(second?.bytes.toString()).toBe('c.txt C\n');
    // Inputs that the node sees are used where they are; the code was fetched once.
    expect(fake.fetches.filter((fetch) => fetch.startsWith('input'))).toEqual([]);
    expect(fake.fetches.filter((fetch) => fetch.startsWith('artifact'))).toHaveLength(2);
    fake.send({ committed: [first, second].map((result) => result?.report.token ?? { epoch: 0, counter: 0 }) });
    fake.send({ endedJobs: [job] });
    await node.close();
    expect(node.stats()).toMatchObject({ link: 'closed', scored: 2, failed: 0, held: 0, hostsStarted: 1, joins: 1 });
    const jobDir = join(dir, 'scratch', 'nodes', 'node-1', 'jobs', job);
    expect(readdirSync(jobDir)).toEqual(['logs']);
    expect(readFileSync(join(jobDir, 'logs', 'user', 'stdout', 'process000.stdout.txt'), 'utf8')).toBe(
      'init done\nscoring 2\nscoring 1\n',
    );
    expect(fake.messages.filter((message) => message.results.length > 0).length).toBeLessThanOrEqual(2);
    expect(lines.join('')).not.toContain('join-me');
  });

  it('keeps the host of a job for the next one of the same owner that scores with the same, which finds nothing of the job before', async () => {
    const fake = await coordinator();
    const node = await member(fake);
    const script = `
import os
def init():
    print("init done", flush=True)
def run(mini_batch):
    custom = os.environ["AZUREML_BI_OUTPUT_PATH"]
    found = sorted(os.listdir(custom) + os.listdir("."))
    for place in (custom, "."):
        open(os.path.join(place, "mine.txt"), "w").close()
    text = open(mini_batch[0]).read()
    print("scoring", text, flush=True)
    if text == "bad":
        raise ValueError(text)
    return ["%d %s" % (os.getpid(), found)]
`;
    const base = pythonJob(fake, script);
    const warm = { ...base, settings: { ...base.settings, keepWarm: true } };
    let scored = 0;
    const scoreAs = async (name: string, spec: Partial<JobSpec>, text = name): Promise<string> => {
      scored += 1;
      const grant = { ...grantOf(scored, { [`${name}.txt`]: text }), job: jobName(name) };
      fake.send({ jobs: [{ ...warm, ...spec, name: jobName(name) }], grants: [grant] });
      const isOf = ({ token }: { readonly token: Token }): boolean => token.counter === grant.token.counter;
      const told = await fake.until(`the end of ${name}`, () =>
        [
          ...fake.results.filter(({ report }) => isOf(report)).map(({ bytes }) => bytes.toString()),
          ...fake.messages.flatMap(({ failures }) => failures.filter(isOf).map(({ failure }) => failure.code)),
        ].at(0),
      );
      fake.send({ committed: [grant.token], endedJobs: [grant.job] });
      // What the script wrote to its folder follows the rows.
      return told.split('\n')[0] ?? '';
    };
    const first = await scoreAs('first', {});
    expect(first).toMatch(/^\d+ \[\]$/);
    expect(await scoreAs('second', {})).toBe(first);
    const logsOf = (name: string): string =>
      readFileSync(join(node.logsDir(name), 'user/stdout/process000.stdout.txt'), 'utf8');
    expect(node.stats().hostsStarted).toBe(1);
    // Somebody else's, another environment, and what is not to be kept begin anew.
    const other = await scoreAs('third', { owner: 'eve' });
    expect(other).not.toBe(first);
    await scoreAs('fourth', { settings: { ...warm.settings, environmentVariables: { A: '1' } } });
    expect(node.stats().hostsStarted).toBe(3);
    await scoreAs('fifth', { settings: base.settings });
    expect(node.stats().hostsStarted).toBe(4);
    // One that has failed an attempt is not kept.
    expect(await scoreAs('sixth', { owner: 'eve' }, 'bad')).toBe('SCORER_FAILED');
    await scoreAs('seventh', { owner: 'eve' });
    expect(logsOf('second')).toBe('scoring second\n');
    await node.close();
    expect(() => process.kill(Number(first.split(' ')[0]), 0)).toThrow('ESRCH');
    expect(existsSync(join(dir, 'scratch', 'nodes', 'node-1', 'warm', 'host-1'))).toBe(false);
  });

  it('uploads a large result within its credit, and keeps its heartbeats meanwhile', async () => {
    const credit = 65_536;
    const fake = await coordinator({ uploadCreditBytes: credit, heartbeatMs: 50 });
    await member(fake);
    const script = 'def init(): pass\ndef run(mini_batch):\n    return ["x" * 999 for _ in range(3000)]\n';
    fake.isCreditHeld = true;
    fake.send({ jobs: [pythonJob(fake, script)], grants: [grantOf(1, { 'a.txt': 'A' })] });
    await fake.until('the first pieces', () => fake.underWayBytesMax === credit);
    const beats = fake.heartbeatsAt.length;
    await fake.until('five heartbeats', () => fake.heartbeatsAt.length >= beats + 5);
    expect(fake.results).toEqual([]);
    fake.releaseCredit();
    const { report, bytes } = await fake.until('the result', () => fake.results[0]);
    expect(report).toMatchObject({ isUploaded: true, bytes: 3_000_000, crc32: crc32(bytes) });
    expect(bytes.equals(Buffer.from(`${'x'.repeat(999)}\n`.repeat(3_000)))).toBe(true);
    expect(fake.underWayBytesMax).toBe(credit);
    expect(fake.pieceBytesMax).toBe(credit / 2);
  });

  it('keeps scoring while the coordinator is away, offers all it holds, and goes on under new tokens', async () => {
    const first = await coordinator();
    const node = await member(first, { slots: 2 });
    const gate = join(dir, 'go');
    const script = `
import os, time
def init(): pass
def run(mini_batch):
    if "slow" in mini_batch[0]:
        while not os.path.exists(${JSON.stringify(gate)}): time.sleep(0.01)
    return [open(p).read() for p in mini_batch]
`;
    const spec = pythonJob(first, script);
    const grants = [grantOf(1, { 'fast.txt': 'F' }), grantOf(2, { 'slow.txt': 'S' }), grantOf(3, { 'x.txt': 'X' })];
    first.send({ jobs: [spec], grants });
    await first.until('two results', () => first.results.length === 2);
    first.kill();
    const second = await coordinator({ epoch: 2 }, first.address);
    const hello = await second.until('hello', () => second.messages.find((message) => message.hello));
    expect(hello.hello?.map(({ token, first: at, count }) => [token.counter, at, count])).toEqual([
      [1, 10, 1],
      [2, 20, 1],
      [3, 30, 1],
    ]);
    expect(second.results).toEqual([]);
    writeFileSync(gate, '');
    // The third is not adopted; the others get new tokens.
    const adoption = [1, 2].map((counter) => ({
      oldToken: { epoch: 1, counter },
      newToken: { epoch: 2, counter: counter + 10 },
    }));
    second.send({ adoption });
    await second.until('both results', () => second.results.length === 2);
    const texts = second.results.map(({ report, bytes }) => [report.token, bytes.toString()]);
    expect(texts.sort()).toEqual([
      [{ epoch: 2, counter: 11 }, 'F\n'],
      [{ epoch: 2, counter: 12 }, 'S\n'],
    ]);
    // It is the same process, with the hosts it had.
    expect(second.joins[0]?.incarnation).toBe(first.joins[0]?.incarnation);
    expect(node.stats()).toMatchObject({ joins: 2, hostsStarted: 2, held: 2 });
    second.send({
      jobs: [pythonJob(second, script)],
      grants: [{ ...grantOf(9, { 'y.txt': 'Y' }), token: { epoch: 2, counter: 20 } }],
    });
    await second.until('a further result', () => second.results.length === 3);
  });

  it('fetches inputs that it does not see, and tells of those that cannot be had while their neighbours are scored', async () => {
    const fake = await coordinator();
    await member(fake);
    const spec = pythonJob(fake, echo, { inputRoot: '/nowhere/that/exists' });
    const big = 'b'.repeat(200_000);
    const files = [
      ['a.txt', 'A'],
      ['gone.txt', '?'],
      ['deep/er/b.txt', big],
      ['c.txt', 'C'],
    ] as const;
    files.forEach(([, text], index) => fake.inputs.set(100 + index, Buffer.from(text)));
    fake.inputs.set(101, new BatchError('INPUT_CHANGED', 'gone.txt is not the one that was listed'));
    const grant: Grant = {
      token: { epoch: 1, counter: 1 },
      job,
      first: 100,
      files: files.map(([path, text]) => ({ path, sizeBytes: text.length, identity: '1-2' })),
      attempt: 1,
      isAlone: false,
    };
    fake.send({ jobs: [spec], grants: [grant] });
    const { report, bytes } = await fake.until('the result', () => fake.results[0]);
    expect(bytes.toString()).toBe(`a.txt A\nb.txt ${big}\nc.txt C\n`);
    expect(report.summary).toMatchObject({ rows: 3, fileRows: [1, 0, 1, 1] });
    expect(report.summary.failed).toEqual([
      { index: 1, code: 'INPUT_CHANGED', message: 'gone.txt is not the one that was listed' },
    ]);
    // The copies are gone when the attempt is.
    const jobDir = join(dir, 'scratch', 'nodes', 'node-1', 'jobs', job);
    fake.send({ committed: [grant.token] });
    await expect.poll(() => readdirSync(jobDir).sort(), { timeout: 20_000 }).toEqual(['custom', 'hosts', 'logs']);
  });

  it('fetches a file again whose local namesake is another one', async () => {
    const fake = await coordinator();
    await member(fake);
    const grant = grantOf(1, { 'a.txt': 'listed' });
    writeFileSync(join(dir, 'in', 'a.txt'), 'something else');
    fake.inputs.set(10, Buffer.from('listed'));
    fake.send({ jobs: [pythonJob(fake, echo)], grants: [grant] });
    const { bytes } = await fake.until('the result', () => fake.results[0]);
    expect(bytes.toString()).toBe('a.txt listed\n');
    expect(fake.fetches.filter((fetch) => fetch.startsWith('input'))).toEqual(['input 10 0']);
  });

  it('keeps its heartbeats while a script spins', async () => {
    const fake = await coordinator({ heartbeatMs: 50 });
    await member(fake, { slots: 2 });
    const gate = join(dir, 'go');
    const script = `
import os
def init(): pass
def run(mini_batch):
    n = 0
    while n % 1000 or not os.path.exists(${JSON.stringify(gate)}): n += 1
    return ["done"]
`;
    fake.send({
      jobs: [pythonJob(fake, script)],
      grants: [grantOf(1, { 'a.txt': 'A' }), grantOf(2, { 'b.txt': 'B' })],
    });
    await fake.until('both started', () => fake.messages.flatMap((message) => message.started).length === 2);
    const before = fake.messages.filter((message) => message.heartbeat).length;
    const beats = await fake.until('twenty heartbeats', () => {
      const all = fake.messages.flatMap((message) => message.heartbeat ?? []).slice(before);
      return all.length >= 20 && all;
    });
    expect(beats.every((beat) => beat.slotsBusy === 2 && beat.held.length === 2)).toBe(true);
    expect(beats.map((beat) => beat.sequence)).toEqual(beats.map((_, index) => before + 1 + index));
    expect(beats[0]?.rssBytes).toBeGreaterThan(1_000_000);
    writeFileSync(gate, '');
    await fake.until('both results', () => fake.results.length === 2);
  });

  it('reports errors, crashes and timeouts with the file that was open, and replaces the host when it must', async () => {
    const fake = await coordinator();
    const node = await member(fake);
    const script = `
import os, time
def init(): pass
def run(mini_batch):
    texts = [open(p).read() for p in mini_batch]
    if texts[-1] == "raise": raise ValueError("no good")
    if texts[-1] == "exit": os._exit(3)
    if texts[-1] == "hang": time.sleep(1000)
    return texts
`;
    const { settings, ...spec } = pythonJob(fake, script);
    const grants = ['raise', 'exit', 'hang', 'fine'].map((text, index) =>
      grantOf(index + 1, { [`${text}-1`]: '1', [`${text}-2`]: text }),
    );
    fake.send({ jobs: [{ ...spec, settings: { ...settings, timeoutMs: 1_000 } }], grants });
    await fake.until('the fine one', () => fake.results[0]);
    const failures = fake.messages.flatMap((message) => message.failures);
    expect(failures.map(({ token, failure, fileIndex }) => [token.counter, failure.code, fileIndex])).toEqual([
      [1, 'SCORER_FAILED', 1],
      [2, 'SCORER_CRASHED', 1],
      [3, 'SCORER_TIMEOUT', 1],
    ]);
    expect(failures[0]?.failure.message).toContain('ValueError: no good');
    expect(node.stats()).toMatchObject({ scored: 1, failed: 3, hostsStarted: 3 });
  });

  it('reports an init() that fails, returns its leases, and takes the next ones after a while', async () => {
    const fake = await coordinator();
    await member(fake);
    fake.send({
      jobs: [pythonJob(fake, 'def init(): raise RuntimeError("no model")\ndef run(b): return b\n')],
      grants: [grantOf(1, { 'a.txt': 'A' })],
    });
    const message = await fake.until('the report', () => fake.messages.find((one) => one.hostFailures.length > 0));
    expect(message.hostFailures).toMatchObject([{ job, failure: { code: 'SCORER_INIT_FAILED' } }]);
    expect(message.returned).toEqual([{ epoch: 1, counter: 1 }]);
    fake.send({ grants: [grantOf(2, { 'b.txt': 'B' })] });
    const again = await fake.until(
      'the next report',
      () => fake.messages.filter((one) => one.hostFailures.length > 0)[1],
    );
    expect(again.returned).toEqual([{ epoch: 1, counter: 2 }]);
  });

  it('kills a revoked mini-batch, and gives its slot to the next', async () => {
    const fake = await coordinator();
    await member(fake);
    const script =
      'import time\ndef init(): pass\ndef run(b):\n    t = open(b[0]).read()\n    if t == "slow": time.sleep(1000)\n    return [t]\n';
    fake.send({
      jobs: [pythonJob(fake, script)],
      grants: [grantOf(1, { 'a.txt': 'slow' }), grantOf(2, { 'b.txt': 'quick' })],
    });
    await fake.until('the slow one', () => fake.messages.some((message) => message.started.length > 0));
    fake.send({ revoked: [{ epoch: 1, counter: 1 }] });
    const { report, bytes } = await fake.until('the quick one', () => fake.results[0]);
    expect([report.token.counter, bytes.toString()]).toEqual([2, 'quick\n']);
    expect(fake.messages.flatMap((message) => [...message.failures, ...message.returned])).toEqual([]);
  });

  it('drains: finishes what runs, returns the rest, waits for the commit', async () => {
    const fake = await coordinator();
    const node = await member(fake);
    const gate = join(dir, 'go');
    const script = `import os, time\ndef init(): pass\ndef run(b):\n    while not os.path.exists(${JSON.stringify(gate)}): time.sleep(0.01)\n    return ["ok"]\n`;
    fake.send({
      jobs: [pythonJob(fake, script)],
      grants: [grantOf(1, { 'a.txt': 'A' }), grantOf(2, { 'b.txt': 'B' })],
    });
    await fake.until('the start', () => fake.messages.some((message) => message.started.length > 0));
    const drained = node.drain();
    const leaving = await fake.until('leaving', () => fake.messages.find((message) => message.isLeaving));
    expect(leaving).toMatchObject({ returned: [{ epoch: 1, counter: 2 }], want: 0 });
    writeFileSync(gate, '');
    const { report } = await fake.until('the result', () => fake.results[0]);
    expect(node.stats().link).toBe('up');
    fake.send({ committed: [report.token] });
    await drained;
    await expect(node.closed).resolves.toBeUndefined();
  });
});

describe('models and code', () => {
  it('lie under their own names with nothing beside them, and are fetched once for two nodes, also across a break', async () => {
    const fake = await coordinator();
    const model = Buffer.alloc(1_000_000, 'model bytes ');
    const script = `
import os
def init():
    global model
    dir = os.environ["AZUREML_MODEL_DIR"]
    model = os.listdir(dir) + [str(os.path.getsize(os.path.join(dir, "model.pt")))]
def run(mini_batch):
    if any(path.endswith("break") for path in mini_batch):
        path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pt")
        os.remove(path)
        open(path, "w").close()
        os._exit(3)
    return [" ".join(model) + " " + str("BATCHMILL_TOKEN" in os.environ) for _ in mini_batch]
`;
    const spec = pythonJob(fake, script, {
      model: { kind: 'file', name: 'model.pt', digest: fake.addArtifact(model), bytes: model.length },
    });
    fake.breakAfterBytes = 300_000;
    await member(fake);
    fake.send({ jobs: [spec], grants: [grantOf(1, { 'a.txt': 'A' })] });
    const { bytes } = await fake.until('the result', () => fake.results[0]);
    expect(bytes.toString()).toBe('model.pt 1000000 False\n');
    const fetches = fake.fetches.length;
    // Model, listing and script; one of them twice, the second time from where it broke.
    expect(fetches).toBe(4);
    await workers.splice(0)[0]?.close();
    await member(fake, { name: 'node-2' });
    fake.send({ jobs: [spec], grants: [grantOf(2, { 'b.txt': 'B' })] });
    await fake.until('the second result', () => fake.results[1]);
    expect(fake.fetches).toHaveLength(fetches);
    const artifacts = readdirSync(join(dir, 'scratch', 'artifacts'));
    // The script's folder has its listing beside it.
    expect(artifacts).toHaveLength(3);
    expect(artifacts.some((name) => name.startsWith(createHash('sha256').update(model).digest('hex')))).toBe(true);
    // The next host has the model, whatever the one before did to it.
    fake.send({ grants: [grantOf(3, { break: 'C' })] });
    await fake.until('the failure', () => fake.messages.find((one) => one.failures.length > 0));
    fake.send({ grants: [grantOf(4, { 'd.txt': 'D' })] });
    const { bytes: after } = await fake.until('the third result', () => fake.results[2]);
    expect([after.toString(), fake.fetches.length]).toEqual(['model.pt 1000000 False\n', fetches + 1]);
  });

  it('whose bytes are wrong are not used, and the node says so', async () => {
    const fake = await coordinator();
    await member(fake);
    const spec = pythonJob(fake, echo);
    for (const name of fake.artifacts.keys()) fake.artifacts.set(name, Buffer.from('damaged'));
    fake.send({ jobs: [spec], grants: [grantOf(1, { 'a.txt': 'A' })] });
    const message = await fake.until('the report', () => fake.messages.find((one) => one.hostFailures.length > 0));
    expect(message.hostFailures).toMatchObject([{ failure: { code: 'ARTIFACT_CORRUPT' } }]);
    expect(message.returned).toEqual([{ epoch: 1, counter: 1 }]);
    expect(readdirSync(join(dir, 'scratch', 'artifacts'))).toEqual([]);
  });

  it('whose name leads elsewhere are refused, and the node lives on', async () => {
    const fake = await coordinator();
    await member(fake);
    const spec = pythonJob(fake, echo);
    const code = { kind: 'file', name: '../evil', digest: fake.addArtifact(Buffer.from('x')), bytes: 1 } as const;
    fake.send({ jobs: [{ ...spec, code }], grants: [grantOf(1, { 'a.txt': 'A' })] });
    const message = await fake.until('the report', () => fake.messages.find((one) => one.hostFailures.length > 0));
    expect(message.hostFailures).toMatchObject([{ failure: { code: 'REQUEST_INVALID' } }]);
    expect(message.returned).toEqual([{ epoch: 1, counter: 1 }]);
  });

  it('of a built-in scorer: real digits through a real model', async () => {
    const root = packageFile('..', 'shared', 'data', 'mnist');
    if (!existsSync(root)) throw new Error(`${root} is not there: this test needs the shared data`);
    const fake = await coordinator();
    await member(fake);
    const model = readFileSync(join(root, 'torch', 'mnist.onnx'));
    const inputRoot = join(root, 'inputs');
    const names = readdirSync(inputRoot).sort().slice(0, 40);
    const files = names.map((path) => {
      const { size, mtimeNs } = statSync(join(inputRoot, path), { bigint: true });
      return { path, sizeBytes: Number(size), identity: `${size}-${mtimeNs}` };
    });
    const spec: JobSpec = {
      ...pythonJob(fake, echo, { inputRoot }),
      scorer: { kind: 'onnx', settings: defaultOnnxSettings },
      code: null,
      model: { kind: 'file', name: 'mnist.onnx', digest: fake.addArtifact(model), bytes: model.length },
    };
    const grants = [0, 20].map((first) => ({
      token: { epoch: 1, counter: first + 1 },
      job,
      first,
      files: files.slice(first, first + 20),
      attempt: 1,
      isAlone: false,
    }));
    fake.send({ jobs: [spec], grants });
    await fake.until('both results', () => fake.results.length === 2);
    expect(fake.results.map(({ report }) => [report.summary.rows, report.summary.attribution])).toEqual([
      [20, 'file'],
      [20, 'file'],
    ]);
    const rows = fake.results
      .map(({ bytes }) => bytes.toString())
      .join('')
      .trimEnd()
      .split('\n');
    expect(rows.map((row) => row.split(' ')[0])).toEqual(names);
  });
});

describe('joining', () => {
  it.each(['TOKEN_INVALID', 'NAME_TAKEN', 'PROTOCOL_MISMATCH'] as const)(
    'fails at once when refused with %s',
    async (code) => {
      const fake = await coordinator({ refusal: new BatchError(code, 'for a reason', { detail: 'all of it' }) });
      await expect(worker(fake.address)).rejects.toMatchObject({ code, message: 'for a reason', detail: 'all of it' });
      expect(fake.joins).toHaveLength(1);
    },
  );

  it('is refused before anything is touched where a live node has the folder, and not after that one has left', async () => {
    const fake = await coordinator();
    const other = await coordinator();
    const first = await member(fake);
    const message = expect.stringContaining(
      `${join(dir, 'scratch/nodes/node-1')}: process ${process.pid} on this`,
    ) as string;
    await expect(worker(other.address)).rejects.toMatchObject({ code: 'NAME_TAKEN', message });
    expect(other.joins).toEqual([]);
    await first.close();
    await member(other);
    expect(other.joins).toHaveLength(1);
  });

  it('fails with the address when nobody answers in time', async () => {
    const fake = await coordinator();
    fake.kill();
    const refused = worker(fake.address, { joinTimeoutMs: 1_000 });
    await expect(refused).rejects.toMatchObject({
      code: 'COORDINATOR_UNREACHABLE',
      message: expect.stringContaining(fake.address),
    });
  });

  it('waits for a coordinator that starts a little later, over a unix socket too', async () => {
    const address = `unix:${join(dir, 'c.sock')}`;
    const started = worker(address, { joinTimeoutMs: 20_000 });
    await expect.poll(() => lines.length, { timeout: 20_000 }).toBeGreaterThan(0);
    const fake = await coordinator({}, address);
    await started;
    await fake.until('hello', () => fake.messages[0]?.hello);
  });

  it('leaves before it has joined when told so', async () => {
    const fake = await coordinator();
    const node = await member(fake);
    fake.kill();
    await expect.poll(() => node.stats().link, { timeout: 20_000 }).not.toBe('up');
    await node.drain();
    expect(node.stats().link).toBe('closed');
  });
});
