/** The small parts of worker/pool that need no process. */
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { ByteTail } from '../../worker/pool/byte-tail.ts';
import { CurrentFile } from '../../worker/pool/current-file.ts';
import { hostCommand } from '../../worker/pool/host-command.ts';
import { hostEnvironment, passesToHost } from '../../worker/pool/host-environment.ts';
import { describeExit, lastLine } from '../../worker/pool/host-exit.ts';
import * as failures from '../../worker/pool/host-failures.ts';
import { parseDone, parseFailed, parseReady } from '../../worker/pool/host-messages.ts';
import { unwatchMemory, watchMemory } from '../../worker/pool/memory-watch.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const json = (value: unknown): Uint8Array => bytes(JSON.stringify(value));

describe('environment of a scoring host', () => {
  it('passes what libraries and devices need', () => {
    for (const name of ['PATH', 'HOME', 'LC_ALL', 'CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'LD_LIBRARY_PATH']) {
      expect(passesToHost(name), name).toBe(true);
    }
  });

  it('passes no credential, whatever its prefix', () => {
    const secrets = [
      'BATCHMILL_TOKEN',
      'AWS_SECRET_ACCESS_KEY',
      'HF_TOKEN',
      'NVIDIA_API_KEY',
      'CUDA_PASSWORD',
      'SLURM_JWT',
    ];
    const others = [
      'NODE_OPTIONS',
      'LD_PRELOAD',
      'HTTP_PROXY',
      'TF_VAR_password',
      'SSH_AUTH_SOCK',
      'PYTHONSTARTUP',
      'path',
    ];
    for (const name of [...secrets, ...others]) expect(passesToHost(name), name).toBe(false);
  });

  it('lets the deployment win over the node, and the model folder over both', () => {
    const env = hostEnvironment({
      node: { PATH: '/bin', TZ: 'UTC', BATCHMILL_TOKEN: 'secret', HOME: undefined },
      deployment: { TZ: 'Asia/Tokyo', API_KEY: 'the caller’s own', AZUREML_MODEL_DIR: '/elsewhere' },
      modelDir: '/models/a',
      outputDir: '/out/a',
    });
    expect(env).toEqual({
      PATH: '/bin',
      TZ: 'Asia/Tokyo',
      API_KEY: 'the caller’s own',
      AZUREML_MODEL_DIR: '/models/a',
      AZUREML_BI_OUTPUT_PATH: '/out/a',
    });
  });

  it('sets no model folder without a model', () => {
    expect(hostEnvironment({ node: {}, deployment: {}, modelDir: null, outputDir: null })).toEqual({});
  });
});

describe('command of a scoring host', () => {
  const environment = { node: { PATH: '/bin' }, deployment: {}, modelDir: null, outputDir: null };

  it('runs the Python package with the interpreter that was resolved', () => {
    const found = hostCommand({
      scorer: { kind: 'python', script: 'a.py' },
      python: '/opt/py/bin/python3',
      environment,
    });
    expect(found.command).toBe('/opt/py/bin/python3');
    expect(found.args.at(-1)).toMatch(/worker\/python\/batchmill_host$/);
    expect(found.env).toEqual({ PATH: '/bin' });
  });

  it('runs Node for the built-in scorer and for scripts in JavaScript', () => {
    for (const scorer of [
      { kind: 'onnx', settings: defaultOnnxSettings } as const,
      { kind: 'node', script: 'a.ts' } as const,
    ]) {
      const found = hostCommand({ scorer, python: null, environment });
      expect(found.command).toBe(process.execPath);
      expect(found.args.at(-1)).toMatch(/dist\/worker\/scorers\/node-host\.js$/);
    }
  });

  it('never guesses an interpreter', () => {
    expect(() => hostCommand({ scorer: { kind: 'python', script: 'a.py' }, python: null, environment })).toThrow(
      'a Python scorer needs a resolved interpreter',
    );
  });
});

describe('end of stderr', () => {
  it('keeps the last bytes of many pieces', () => {
    const tail = new ByteTail(5);
    for (const piece of ['ab', 'cd', 'e', 'fgh']) tail.push(bytes(piece));
    expect(tail.text()).toBe('defgh');
  });

  it('keeps the end of one large piece, and all of a small one', () => {
    const tail = new ByteTail(4);
    tail.push(bytes('0123456789'));
    expect(tail.text()).toBe('6789');
    const small = new ByteTail(4);
    small.push(bytes('ab'));
    expect(small.text()).toBe('ab');
    expect(new ByteTail(4).text()).toBe('');
  });

  it('leaves out a character that the cut goes through', () => {
    const tail = new ByteTail(4);
    tail.push(bytes('aéüx'));
    expect(tail.text()).toBe('üx');
  });
});

describe('current file', () => {
  const at = (...chunks: readonly string[]): number => {
    const current = new CurrentFile();
    current.expect(12, 12);
    for (const chunk of chunks) current.push(bytes(chunk));
    return current.indexIn(12);
  };

  it('is the last one named', () => expect(at('12 0\n12 3\n')).toBe(3));
  it('is unknown before anything was named', () => expect(at()).toBe(-1));
  it('counts no line before its end', () => expect(at('12 0\n12 3')).toBe(0));
  it('puts cut lines together', () => expect(at('1', '2 ', '7\n')).toBe(7));
  it('ignores other mini-batches', () => expect(at('11 4\n12 1\n11 5\n')).toBe(1));
  it('ignores what is no line of the protocol', () => {
    expect(at('12 1\nhello\n12 x\n-1 2\n12 -4\n12 1e3\n')).toBe(1);
    expect(at('x'.repeat(100_000), '\n12 2\n')).toBe(2);
  });

  it('forgets with the next mini-batch', () => {
    const current = new CurrentFile();
    current.expect(1, 1);
    current.push(bytes('1 5\n'));
    current.expect(2, 2);
    expect(current.indexIn(2)).toBe(-1);
  });

  it('may be of a mini-batch that waits behind the one whose turn it is', () => {
    const current = new CurrentFile();
    current.expect(4, 6);
    current.push(bytes('4 0\n5 2\n7 0\n'));
    expect([current.sequence, current.indexIn(4), current.indexIn(5)]).toEqual([5, -1, 2]);
    current.expect(5, 6);
    expect(current.indexIn(5)).toBe(2);
  });
});

describe('how a host ended', () => {
  it('tells code from signal, and says what a signal may mean', () => {
    expect(describeExit({ exitCode: 3, signal: null })).toBe('exited with code 3');
    expect(describeExit({ exitCode: null, signal: 'SIGKILL' })).toBe(
      'was ended by SIGKILL (killed; perhaps out of memory)',
    );
    expect(describeExit({ exitCode: null, signal: 'SIGHUP' })).toBe('was ended by SIGHUP');
  });

  it('finds the last line that says something', () => {
    expect(lastLine('Traceback\n  KeyError: 1\n\n')).toBe('KeyError: 1');
    expect(lastLine('')).toBe('');
  });

  it('names file, cause and last words', () => {
    const error = failures.crash({ exitCode: 1, signal: null }, { fileName: 'b/2.png', stderr: 'x\nboom\n' });
    expect(error.code).toBe('SCORER_CRASHED');
    expect(error.message).toBe(
      'the scoring host exited with code 1 while it held this mini-batch; the file open last was b/2.png; its last line was: boom',
    );
    expect(error.detail).toBe('x\nboom\n');
    expect(failures.timeout(1_500, { fileName: null, stderr: '' }).message).toContain('longer than 1.5 s');
  });
});

it('reads the processor time of a host once for many short mini-batches, however long they have waited for their turn', () => {
  const reading = watchMemory({ pid: process.pid, bytesMax: null, onExceeded: () => undefined });
  try {
    expect(reading.takeCpuSeconds(0, Infinity)).toBeGreaterThan(0);
    for (const begun = process.cpuUsage(); process.cpuUsage(begun).user < 60_000;);
    // Asked for 50 ms ago, and begun 5 ms ago, when the one before had ended.
    expect([reading.takeCpuSeconds(5, 50), reading.takeCpuSeconds(10, 50)]).toEqual([0, 0]);
    expect(reading.takeCpuSeconds(300, 5)).toBeGreaterThanOrEqual(0.03);
  } finally {
    unwatchMemory(reading);
  }
});

describe('messages of a scoring host', () => {
  const done = {
    sequence: 4,
    bytes: 10,
    rows: 2,
    attribution: 'positional',
    fileRows: [1, 1],
    failed: [],
    schema: null,
    runSeconds: 0.25,
  };
  const refusal = (payload: Uint8Array, files = 2): string => {
    try {
      parseDone(payload, files);
    } catch (error) {
      return error instanceof BatchError ? `${error.code}: ${error.message}` : String(error);
    }
    return 'accepted';
  };

  it('accepts what the protocol says', () => {
    expect(parseDone(json(done), 2)).toEqual(done);
    expect(parseReady(json({ pid: 1, initSeconds: 2 }))).toEqual({ pid: 1, initSeconds: 2 });
    const schema = { columns: ['file:value'], prologue: 'file\n' };
    const told = { ...done, schema, appended: [], isFolderEmpty: true };
    expect(parseDone(json(told), 2)).toEqual(told);
    expect(parseDone(json({ ...told, fromTheFuture: 1 }), 2)).toEqual(told);
    expect(parseDone(json({ ...done, callSize: 8, appended: ['a'] }), 2)).toEqual({
      ...done,
      callSize: 8,
      appended: ['a'],
    });
    const range = {
      ...done,
      attribution: 'range',
      fileRows: null,
      schema,
      failed: [{ index: 1, code: 'INPUT_DECODE_FAILED', message: 'm' }],
    };
    expect(parseDone(json(range), 2)).toEqual(range);
  });

  it.each([
    ['no JSON', bytes('{'), 2],
    ['no object', bytes('7'), 2],
    ['a missing field', json({ ...done, runSeconds: undefined }), 2],
    ['a negative count', json({ ...done, rows: -1 }), 2],
    ['half a file', json({ ...done, rows: 1.5, fileRows: [1, 0.5] }), 2],
    ['seconds without end', bytes(JSON.stringify(done).replace('0.25', '1e999')), 2],
    ['a schema without its text', json({ ...done, schema: { columns: ['a'] } }), 2],
    ['columns without a name', json({ ...done, schema: { columns: [1], prologue: '' } }), 2],
    [
      'a prologue that is not base64',
      json({ ...done, schema: { columns: [], prologue: '?', prologueForm: 'base64' } }),
      2,
    ],
    ['a failed file of no form', json({ ...done, failed: [{}] }), 2],
    ['an unknown attribution', json({ ...done, attribution: 'row' }), 2],
    ['counts for another number of files', json(done), 3],
    ['counts that do not add up', json({ ...done, rows: 3 }), 2],
    ['counts with attribution range', json({ ...done, attribution: 'range' }), 2],
    ['no counts with attribution positional', json({ ...done, fileRows: null }), 2],
    [
      'a failed file outside of the mini-batch',
      json({ ...done, failed: [{ index: 2, code: 'INTERNAL', message: '' }] }),
      2,
    ],
  ])('refuses %s', (_, payload, files) => {
    expect(refusal(payload, files)).toMatch(/^FRAME_CORRUPT: a done message of the scoring host is/);
  });

  it('turns an unknown code into INTERNAL and bounds texts, the end of a traceback being worth more than its start', () => {
    const failed = {
      sequence: 1,
      code: 'FROM_THE_FUTURE',
      message: 'm'.repeat(9_000),
      detail: 'd'.repeat(90_000) + 'END',
      fileIndex: -1,
    };
    const parsed = parseFailed(json(failed));
    expect(parsed.code).toBe('INTERNAL');
    expect(parsed.message).toHaveLength(limits.failureMessageCharsMax);
    expect(parsed.detail).toHaveLength(limits.failureDetailCharsMax);
    expect(parsed.detail.endsWith('END')).toBe(true);
  });
});
