/** The client of scoring hosts: answers, deaths, time-outs, large results, logs. Real Python processes. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { hostCommand, resolvePython } from '../../worker/pool/host-command.ts';
import { HostProcess } from '../../worker/pool/host-process.ts';
import { ResultBody } from '../../worker/pool/result-body.ts';
import {
  failed,
  isRunning,
  openBench,
  patience,
  refusalOf,
  scored,
  textOf,
  type HostBench,
} from '../helpers/python-host.ts';

let bench: HostBench;
beforeEach(() => void (bench = openBench()));
afterEach(() => bench.close());

/** Sockets that this process has open: what a host says comes through some. */
function sockets(): number {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(join('/proc/self/fd', fd));
    } catch {
      // The listing's own.
      return '';
    }
  });
  return links.filter((link) => link.startsWith('socket:')).length;
}

const echo = 'import os\ndef run(mini_batch):\n    return [os.path.basename(p) for p in mini_batch]\n';

describe('scoring', () => {
  it('scores one mini-batch after the other', async () => {
    bench.code('batch_driver.py', echo);
    const host = await bench.start();
    expect(host.ready.pid).toBe(host.pid);
    for (let round = 1; round <= 50; round += 1) {
      const outcome = await host.score(bench.files(`${round}.png`, 'b.png'), patience);
      expect(scored(outcome).summary).toMatchObject({
        rows: 2,
        attribution: 'positional',
        fileRows: [1, 1],
        failed: [],
        schema: null,
      });
      expect(await textOf(outcome)).toBe(`${round}.png\nb.png\n`);
      expect(host.sequence).toBe(round);
    }
    await host.stop();
    expect(await host.exited).toEqual({ exitCode: 0, signal: null });
    expect(host.isAlive).toBe(false);
  });

  it('goes on with the next mini-batch after one that failed, and names the file that was open', async () => {
    bench.code(
      'batch_driver.py',
      `${echo.replace('    return', '    [open(p).read() for p in mini_batch[:2]]\n    if len(mini_batch) > 2: raise ValueError("bad image")\n    return')}`,
    );
    const host = await bench.start();
    const outcome = failed(await host.score(bench.files('a', 'b', 'c'), patience));
    expect(outcome).toMatchObject({
      class: 'error',
      isHostDead: false,
      fileIndex: 1,
      failure: { code: 'SCORER_FAILED', message: 'ValueError: bad image' },
    });
    expect(outcome.failure.detail).toContain('batch_driver.py", line 4, in run');
    expect(outcome.failure.detail).not.toContain('batchmill_host');
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('a\n');
  });

  it('carries results that are larger than memory may hold, byte for byte', async () => {
    bench.code(
      'batch_driver.py',
      'def run(mini_batch):\n    return [f"{n:06d} " + "x" * 993 for n in range(20_000)]\n',
    );
    const host = await bench.start();
    const waits = vi.spyOn(ResultBody.prototype, 'settled');
    const { body, summary } = scored(await host.score(bench.files('a'), patience));
    expect([summary.rows, summary.attribution, summary.fileRows]).toEqual([20_000, 'range', null]);
    expect([body.isSpooled, body.bytes, body.inline()]).toEqual([true, 20_000 * 1_001, null]);
    // Once for the complete result, the others because the host had to wait for the disk.
    expect(waits.mock.calls.length).toBeGreaterThan(1);
    waits.mockRestore();
    let crc = 0;
    let count = 0;
    for await (const piece of body.pieces()) {
      crc = crc32(piece, crc);
      count += 1;
    }
    expect([crc, count]).toEqual([body.crc32, Math.ceil(body.bytes / limits.uploadChunkBytes)]);
    await body.discard();
  });

  it('sends nothing but counts with summary_only', async () => {
    bench.code('batch_driver.py', echo);
    const host = await bench.start({ settings: { outputAction: 'summary_only' } });
    const { summary, body } = scored(await host.score(bench.files('a', 'b'), patience));
    expect([summary.rows, body.bytes]).toEqual([2, 0]);
  });

  it('says that the names of a mini-batch do not fit a message, and keeps the host', async () => {
    bench.code('batch_driver.py', echo);
    const host = await bench.start();
    const name = 'n'.repeat(limits.framePayloadBytesMax / 2);
    const outcome = failed(await host.score([{ path: `/${name}`, name }], patience));
    expect(outcome).toMatchObject({ class: 'error', isHostDead: false, failure: { code: 'SCORER_FAILED' } });
    expect(outcome.failure.message).toContain('mini_batch_size');
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('a\n');
  });
});

describe('deaths', () => {
  const dying = (how: string): string =>
    `import os, sys, signal\ndef run(mini_batch):\n    for path in mini_batch:\n        open(path).close()\n        if path.endswith("poison"):\n            print("last words", file=sys.stderr, flush=True)\n            ${how}\n    return mini_batch\n`;

  it.each([
    ['os._exit', 'os._exit(3)', 'exited with code 3', 'last words'],
    ['os._exit(0)', 'os._exit(0)', 'exited with code 0', 'last words'],
    ['a kill', 'os.kill(os.getpid(), signal.SIGKILL)', 'SIGKILL (killed; perhaps out of memory)', 'last words'],
    ['a segmentation fault', 'import ctypes; ctypes.string_at(0)', 'SIGSEGV', 'batch_driver.py", line 7 in run'],
  ])('names file, cause and last words after %s', async (_, how, cause, words) => {
    bench.code('batch_driver.py', dying(how));
    const host = await bench.start();
    const outcome = failed(await host.score(bench.files('a', 'poison', 'c'), patience));
    expect(outcome).toMatchObject({
      class: 'crash',
      isHostDead: true,
      fileIndex: 1,
      failure: { code: 'SCORER_CRASHED' },
    });
    expect(outcome.failure.message).toContain(cause);
    expect(outcome.failure.message).toContain('poison');
    expect(outcome.failure.detail).toContain(words);
    expect([host.isAlive, isRunning(host.pid)]).toEqual([false, false]);
  });

  it('blames a host with one file even when nothing was opened', async () => {
    bench.code('batch_driver.py', 'import os\ndef run(mini_batch):\n    os._exit(9)\n');
    const host = await bench.start();
    expect(failed(await host.score(bench.files('only'), patience))).toMatchObject({ fileIndex: 0 });
  });

  it('does not give the last words of one mini-batch to the next', async () => {
    bench.code(
      'batch_driver.py',
      'import os, sys\ndef run(mini_batch):\n    if "b" in mini_batch[0][-1]: os._exit(1)\n    print("from a", file=sys.stderr)\n    return mini_batch\n',
    );
    const host = await bench.start();
    scored(await host.score(bench.files('a'), patience));
    expect(failed(await host.score(bench.files('b'), patience)).failure.detail).toBe('');
  });

  it('kills what a dead host has left behind', async () => {
    const pidFile = join(bench.dir, 'child');
    bench.code(
      'batch_driver.py',
      `import os, subprocess\ndef run(mini_batch):\n    child = subprocess.Popen(["sleep", "600"])\n    open(${JSON.stringify(pidFile)}, "w").write(str(child.pid))\n    os._exit(1)\n`,
    );
    const host = await bench.start();
    failed(await host.score(bench.files('a'), patience));
    const child = Number(readFileSync(pidFile, 'utf8'));
    expect(child).toBeGreaterThan(0);
    await vi.waitFor(() => expect(isRunning(child) && !isZombie(child)).toBe(false), { timeout: 10_000 });
  });

  it('keeps nothing open for what has left its group and lives on', async () => {
    const pidFile = join(bench.dir, 'pid');
    bench.code(
      'batch_driver.py',
      `import subprocess\ndef run(mini_batch):\n    child = subprocess.Popen(["sleep", "600"], start_new_session=True, close_fds=False)\n    open(${JSON.stringify(pidFile)}, "w").write(str(child.pid))\n    return mini_batch\n`,
    );
    const before = sockets();
    const host = await bench.start();
    expect(sockets()).toBeGreaterThan(before);
    await host.score(bench.files('a'), patience);
    await host.stop();
    await host.exited;
    const daemon = Number(readFileSync(pidFile, 'utf8'));
    try {
      expect(isRunning(daemon)).toBe(true);
      await vi.waitFor(() => expect(sockets()).toBe(before), 5_000);
    } finally {
      process.kill(daemon, 'SIGKILL');
    }
  });

  it('kills a host that takes too long, with its children, and names the file', async () => {
    const pidFile = join(bench.dir, 'child');
    bench.code(
      'batch_driver.py',
      `import subprocess, time\ndef run(mini_batch):\n    open(mini_batch[1]).close()\n    child = subprocess.Popen(["sleep", "600"])\n    open(${JSON.stringify(pidFile)}, "w").write(str(child.pid))\n    time.sleep(600)\n`,
    );
    const host = await bench.start();
    const outcome = failed(await host.score(bench.files('a', 'slow.png'), { ...patience, timeoutMs: 1_000 }));
    expect(outcome).toMatchObject({
      class: 'timeout',
      isHostDead: true,
      fileIndex: 1,
      failure: { code: 'SCORER_TIMEOUT' },
    });
    expect(outcome.failure.message).toMatch(/longer than 1 s .*the file open last was slow\.png/);
    expect(isRunning(host.pid)).toBe(false);
    const child = Number(readFileSync(pidFile, 'utf8'));
    await vi.waitFor(() => expect(isRunning(child) && !isZombie(child)).toBe(false), { timeout: 10_000 });
  });

  it('kills on abort and hands on the reason', async () => {
    bench.code('batch_driver.py', 'import time\ndef run(mini_batch):\n    print("begun")\n    time.sleep(600)\n');
    const host = await bench.start();
    const abort = new AbortController();
    const outcome = host.score(bench.files('a'), { ...patience, signal: abort.signal });
    await vi.waitFor(() => expect(bench.printed.map(({ text }) => text)).toContain('begun\n'), { timeout: 10_000 });
    abort.abort('revoked');
    await expect(outcome).rejects.toBe('revoked');
    expect(isRunning(host.pid)).toBe(false);
    await expect(host.score(bench.files('a'), { ...patience, signal: abort.signal })).rejects.toBe('revoked');
  });

  it('survives user code that closes every descriptor that it can name', async () => {
    bench.code(
      'batch_driver.py',
      'import os\ndef run(mini_batch):\n    os.closerange(0, 20)\n    return ["still here"]\n',
    );
    const host = await bench.start();
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('still here\n');
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('still here\n');
  });

  it('ends a host whose connection user code has closed', async () => {
    bench.code('batch_driver.py', 'import os\ndef run(mini_batch):\n    os.closerange(0, 4000)\n    return ["lost"]\n');
    const host = await bench.start();
    expect(failed(await host.score(bench.files('a'), patience))).toMatchObject({ class: 'crash', isHostDead: true });
  });

  it('refuses an answer that does not fit what arrived, and kills the host', async () => {
    bench.code(
      'batch_driver.py',
      'import gc\ndef run(mini_batch):\n    from batchmill_host.channel import Channel\n    Channel.end_rows = lambda self: 77\n    return ["x"]\n',
    );
    const host = await bench.start();
    const outcome = failed(await host.score(bench.files('a'), patience));
    expect(outcome).toMatchObject({ class: 'crash', isHostDead: true, failure: { code: 'FRAME_CORRUPT' } });
    expect(outcome.failure.message).toBe('the scoring host says it sent 77 bytes of rows, and 0 arrived');
    expect(isRunning(host.pid)).toBe(false);
  });

  it('kills a host that writes something else than frames', async () => {
    bench.code(
      'batch_driver.py',
      'import os, stat\ndef run(mini_batch):\n    for fd in range(100, 110):\n        try: os.write(fd, b"print went here" * 9)\n        except OSError: pass\n    return ["x"]\n',
    );
    const host = await bench.start();
    expect(failed(await host.score(bench.files('a'), patience))).toMatchObject({
      class: 'crash',
      isHostDead: true,
      failure: { code: 'FRAME_CORRUPT' },
    });
    expect(isRunning(host.pid)).toBe(false);
  });
});

describe('start and end', () => {
  it('gives init() its own time limit', async () => {
    bench.code('batch_driver.py', 'import time\ndef init(): time.sleep(600)\ndef run(mini_batch): return []\n');
    const error = await refusalOf(bench.start({ initTimeoutMs: 800 }));
    expect([error.code, error.message]).toEqual([
      'SCORER_INIT_FAILED',
      'init() was not done after 0.8 s, and its scoring host was killed',
    ]);
  });

  it('tells how a host died before it was ready', async () => {
    bench.code(
      'batch_driver.py',
      'import os, sys\ndef init():\n    print("no device", file=sys.stderr)\n    os._exit(4)\ndef run(mini_batch): return []\n',
    );
    const error = await refusalOf(bench.start());
    expect(error.code).toBe('SCORER_CRASHED');
    expect(error.message).toBe(
      'the scoring host exited with code 4 before init() was done; its last line was: no device',
    );
  });

  it('stops waiting for init() on abort', async () => {
    bench.code('batch_driver.py', 'import time\nprint("loading")\ntime.sleep(600)\n');
    const abort = new AbortController();
    const start = bench.start({ signal: abort.signal });
    await vi.waitFor(() => expect(bench.printed).not.toEqual([]), { timeout: 10_000 });
    abort.abort('canceled');
    await expect(start).rejects.toBe('canceled');
  });

  it('names an interpreter that is not there, and a folder that is not there', async () => {
    bench.code('batch_driver.py', echo);
    const missing = await refusalOf(bench.start({ command: '/no/such/python' }));
    expect([missing.code, missing.message]).toEqual([
      'PYTHON_NOT_FOUND',
      'the interpreter /no/such/python of the scoring host does not exist; name another one with --python',
    ]);
    const folder = await refusalOf(bench.start({ cwd: join(bench.dir, 'nowhere') }));
    expect(folder.message).toContain('nowhere of a scoring host does not exist');
  });

  it('calls shutdown() on stop', async () => {
    bench.code('batch_driver.py', `${echo}def shutdown(): print("put away")\n`);
    const host = await bench.start();
    await host.stop();
    expect(bench.printed.map(({ text }) => text)).toEqual(['put away\n']);
    await host.stop();
  });

  it('does not wait for ever for a host that will not stop', async () => {
    bench.code(
      'batch_driver.py',
      `${echo}import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef shutdown(): time.sleep(600)\n`,
    );
    const host = await bench.start();
    await host.stop();
    expect(await host.exited).toEqual({ exitCode: null, signal: 'SIGKILL' });
  });
});

describe('log', () => {
  it('gives what is printed to its mini-batch, and what init() prints to number 0', async () => {
    bench.code(
      'batch_driver.py',
      'import logging, sys\ndef init(): print("in init")\ndef run(mini_batch):\n    print("out", len(mini_batch), end="")\n    print("err", file=sys.stderr)\n    logging.getLogger("mine").info("logged")\n    logging.debug("not shown")\n    return mini_batch\n',
    );
    const host = await bench.start();
    for (const names of [['a'], ['a', 'b']]) scored(await host.score(bench.files(...names), patience));
    const of = (sequence: number, stream: string): string =>
      bench.printed
        .filter((chunk) => chunk.sequence === sequence && chunk.stream === stream)
        .map(({ text }) => text)
        .join('');
    expect(of(0, 'stdout')).toBe('in init\n');
    expect([of(1, 'stderr'), of(2, 'stderr')]).toEqual(['err\n', 'err\n']);
    expect(of(2, 'stdout')).toMatch(/^out 2.* INFO mine: logged\n$/);
    expect(of(1, 'stdout')).toMatch(/^out 1.* INFO mine: logged\n$/);
  });

  it('keeps the output of many quick mini-batches apart', async () => {
    bench.code(
      'batch_driver.py',
      'count = 0\ndef run(mini_batch):\n    global count\n    count += 1\n    print(f"<{count}>" * 5_000)\n    return mini_batch\n',
    );
    const host = await bench.start();
    const files = bench.files('a');
    for (let round = 1; round <= 100; round += 1) scored(await host.score(files, patience));
    for (let round = 1; round <= 100; round += 1) {
      const own = bench.printed.filter(({ sequence }) => sequence === round).map(({ text }) => text);
      expect(own.join('') === `<${round}>`.repeat(5_000) + '\n', `output of mini-batch ${round}`).toBe(true);
    }
  });

  it('gives a line that was not ended to its mini-batch too', async () => {
    bench.code('batch_driver.py', 'def run(mini_batch):\n    print(len(mini_batch), end="")\n    return mini_batch\n');
    const host = await bench.start();
    for (const names of [['a'], ['a', 'b']]) scored(await host.score(bench.files(...names), patience));
    expect(bench.printed.map(({ text, sequence }) => [text, sequence])).toEqual([
      ['1', 1],
      ['2', 2],
    ]);
  });

  it('carries a flood without stopping anything', async () => {
    bench.code(
      'batch_driver.py',
      'def run(mini_batch):\n    for n in range(20_000): print("x" * 99)\n    return mini_batch\n',
    );
    const host = await bench.start();
    scored(await host.score(bench.files('a'), patience));
    expect(bench.printed.reduce((sum, { text }) => sum + text.length, 0)).toBe(2_000_000);
  });
});

describe('the Node host', () => {
  const start = (script: string): Promise<HostProcess> => {
    bench.code('score.mjs', script);
    const scorer = { kind: 'node', script: 'score.mjs' } as const;
    const environment = { node: { PATH: '/usr/bin:/bin' }, deployment: {}, modelDir: null, outputDir: null };
    const options = bench.options();
    const command = hostCommand({ scorer, python: null, environment });
    return HostProcess.start({ ...options, ...command, init: { ...options.init, scorer } });
  };

  it('is spoken to in the same way', async () => {
    const host = await start(
      `export function run(miniBatch) {
  if (miniBatch.length === 3) throw new TypeError('three');
  return miniBatch.map((path) => path.split('/').at(-1));
}
export function shutdown() { console.log('put away'); }
`,
    );
    expect(await textOf(await host.score(bench.files('a', 'b'), patience))).toBe('a\nb\n');
    const outcome = failed(await host.score(bench.files('a', 'b', 'c'), patience));
    expect(outcome).toMatchObject({ class: 'error', isHostDead: false, failure: { code: 'SCORER_FAILED' } });
    expect(await textOf(await host.score(bench.files('c'), patience))).toBe('c\n');
    await host.stop();
    expect(await host.exited).toEqual({ exitCode: 0, signal: null });
    expect(bench.printed.map(({ text }) => text).join('')).toContain('put away');
  });

  it('is told from a failure when it crashes, hangs, or says that it cannot go on', async () => {
    const script = (line: string): string => `export async function run(miniBatch) { ${line} }\n`;
    const crashed = await start(script('process.exit(5)'));
    expect(failed(await crashed.score(bench.files('a'), patience))).toMatchObject({
      class: 'crash',
      isHostDead: true,
      fileIndex: 0,
    });
    const hung = await start(script('for (;;);'));
    expect(failed(await hung.score(bench.files('a'), { ...patience, timeoutMs: 500 }))).toMatchObject({
      class: 'timeout',
      isHostDead: true,
    });
    const lost = await start(
      script("setTimeout(() => { throw new Error('late') }, 1); await new Promise(() => setTimeout(() => {}, 1e6))"),
    );
    const outcome = failed(await lost.score(bench.files('a'), patience));
    expect(outcome).toMatchObject({ class: 'crash', isHostDead: true, failure: { code: 'SCORER_CRASHED' } });
    for (const host of [crashed, hung, lost]) expect(isRunning(host.pid)).toBe(false);
  });
});

describe('resolvePython', () => {
  it('finds the real binary behind a name', async () => {
    const path = await resolvePython(null);
    expect(path).toMatch(/^\/.*python/);
    expect(await resolvePython(path)).toBe(path);
  });

  it('says what is wrong with the one that was named', async () => {
    const folder = await refusalOf(resolvePython(import.meta.dirname));
    expect(folder.message).toContain(
      `it is a folder; wanted the interpreter itself, such as ${import.meta.dirname}/bin/python`,
    );
    const missing = await refusalOf(resolvePython('/no/such/python'));
    expect([missing.code, missing.message]).toEqual([
      'PYTHON_NOT_FOUND',
      expect.stringContaining('(/no/such/python: there is no such program)'),
    ]);
    expect((await refusalOf(resolvePython('/bin/false'))).message).toContain('/bin/false: it failed (1)');
    expect((await refusalOf(resolvePython('/etc/passwd'))).message).toContain('it cannot be executed');
  });
});

/** A dead process that nobody has reaped: in a container without an init it keeps its number. */
function isZombie(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}
