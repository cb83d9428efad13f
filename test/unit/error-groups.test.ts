/** Errors as people read them: the same ones counted together, their own frames first. */
import { describe, expect, it } from 'vitest';
import type { Circumstances } from '../../common/core/cluster-messages.ts';
import { nodeName } from '../../common/core/ids.ts';
import { failureSignature, groupFailures, userTraceback } from '../../coordinator/views/error-groups.ts';

const staged = `/tmp/scratch/artifacts/${'ab'.repeat(32)}-1/code/score.py`;
const library = '/usr/lib/python3.11/json/decoder.py';

function traceback(line: number, said: string): string {
  return [
    'Traceback (most recent call last):',
    `  File "${staged}", line ${line}, in run`,
    '    return parse(path)',
    '           ^^^^^^^^^^^',
    `  File "${library}", line 355, in raw_decode`,
    '    raise JSONDecodeError("Expecting value", s, err.value) from None',
    said,
    '',
  ].join('\n');
}

function failure(message: string, line = 12): Parameters<typeof failureSignature>[0] {
  return { code: 'SCORER_FAILED', message, detail: traceback(line, message) };
}

describe('the signature of a failure', () => {
  it.each([
    ["KeyError: 'a17'", "KeyError: 'b2'"],
    ['ValueError: 17 is not 18.5', 'ValueError: 3 is not 4'],
    ["FileNotFoundError: no '/in/a/f1.txt'", "FileNotFoundError: no '/in/b/f2.txt'"],
    ['OSError: cannot read /in/a/f1.png', 'OSError: cannot read /data/other/f27.png'],
    ['UnidentifiedImageError: f1.png', 'UnidentifiedImageError: other-name.png'],
  ])('is the same for %s and %s', (one, other) => {
    expect(failureSignature(failure(one))).toBe(failureSignature(failure(other)));
  });

  it('differs by exception, by code and by the line of user code', () => {
    const base = failure('ValueError: 1');
    const others = [
      failure('TypeError: 1'),
      failure('ValueError: 1', 13),
      { ...base, code: 'SCORER_TIMEOUT' as const },
    ];
    expect(new Set([base, ...others].map(failureSignature)).size).toBe(4);
  });
});

describe('a traceback', () => {
  it('is cut to the frames of user code, whose path is the one that the user knows', () => {
    expect(userTraceback(traceback(12, 'ValueError: no'))).toBe(
      [
        'Traceback (most recent call last):',
        '  File "code/score.py", line 12, in run',
        '    return parse(path)',
        '           ^^^^^^^^^^^',
        'ValueError: no',
      ].join('\n'),
    );
  });

  it('stays whole when no frame is the user’s', () => {
    const text = `Traceback (most recent call last):\n  File "${library}", line 1, in x\n    x\nValueError: no`;
    expect(userTraceback(text)).toBe(text);
    expect(userTraceback('the end of stderr\n')).toBe('the end of stderr');
  });

  it('of a Node script is cut too', () => {
    const stack = [
      'Error: no',
      `    at run (file://${staged.replace('.py', '.ts')}:3:9)`,
      '    at score (/app/node_modules/x/index.js:1:1)',
      '    at process.processTicks (node:internal/process/task_queues:95:5)',
    ].join('\n');
    expect(userTraceback(stack)).toBe('Error: no\n    at run (code/score.ts:3:9)');
  });
});

describe('groups of failures', () => {
  it('count files, have the first as example, and come with the most frequent first', () => {
    const one = { node: nodeName('node-1'), tries: 3, missing: 0, circumstances: null };
    const groups = groupFailures([
      { ...one, first: 40, count: 1, failure: failure("KeyError: 'x'") },
      { ...one, first: 9, count: 1, failure: failure('ValueError: 9') },
      { ...one, first: 3, count: 1, failure: failure('ValueError: 3') },
      { ...one, first: 20, count: 5, failure: failure('ValueError: 20') },
    ]);
    expect(groups.map(({ files, first, last, example }) => [files, first, last, example.failure.message])).toEqual([
      [7, 3, 24, 'ValueError: 3'],
      [1, 40, 40, "KeyError: 'x'"],
    ]);
  });

  it('count what has no result and not its neighbours, and keep apart how hosts ended', () => {
    const one = { node: nodeName('node-1'), tries: 1, missing: 0 };
    const crash = { code: 'SCORER_CRASHED', message: 'the scoring host was ended', detail: '' } as const;
    const ended = (hostExit: string): Circumstances => ({ runSeconds: 1, peakMemoryBytes: null, hostExit });
    const rows = { code: 'SCORER_OUTPUT_INVALID', message: 'run() returned 8 rows for 10 files', detail: '' } as const;
    const groups = groupFailures([
      { ...one, first: 0, count: 10, missing: 2, failure: rows, circumstances: null },
      { ...one, first: 50, count: 1, failure: crash, circumstances: ended('signal SIGSEGV') },
      { ...one, first: 60, count: 1, failure: crash, circumstances: ended('exit code 7') },
      { ...one, first: 70, count: 1, failure: crash, circumstances: ended('exit code 7') },
    ]);
    expect(groups.map(({ files, first, last }) => [files, first, last])).toEqual([
      [2, 0, 9],
      [2, 60, 70],
      [1, 50, 50],
    ]);
  });
});
