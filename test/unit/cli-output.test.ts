import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { EventReader } from '../../cli/event-reader.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import { fateText, jobColumns, jobSheet, progressText } from '../../cli/job-text.ts';
import { errorsText } from '../../cli/commands/job-errors.ts';
import { createOutput, type AnswerFormat, type Output } from '../../cli/output.ts';
import { createProgress } from '../../cli/progress-line.ts';
import { formatSheet, formatTable, formatTsv, type Column } from '../../cli/table.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { testHost, type TestHost } from '../helpers/cli-host.ts';
import { jobView } from '../helpers/fake-backend.ts';

interface Row {
  readonly name: string;
  readonly count: number | null;
}
const columns: readonly Column<Row>[] = [
  { title: 'name', value: (row) => row.name },
  { title: 'count', value: (row) => row.count },
];
const rows: readonly Row[] = [
  { name: 'été', count: 7 },
  { name: 'a\tb\nc', count: 1_234 },
  { name: 'none', count: null },
];

describe('tables', () => {
  test('columns are as wide as their widest cell, numbers stand to the right, a cell is one line', () => {
    expect(formatTable(rows, columns)).toBe('NAME   COUNT\nété        7\na b c   1234\nnone\n');
  });
  test('tsv has no titles and as many tabs in each line', () => {
    expect(formatTsv(rows, columns)).toBe('été\t7\na b c\t1234\nnone\t\n');
  });
  test('a sheet leaves out what is empty', () => {
    expect(formatSheet({ name: 'x', count: null }, columns)).toBe('name  x\n');
  });
});

async function outputOn(host: TestHost, format: AnswerFormat | null, color = false): Promise<Output> {
  return await createOutput({
    ...host,
    format,
    select: null,
    isDebug: false,
    hasColor: { stdout: color, stderr: color },
  });
}

describe('answers', () => {
  const item = { name: 'job', nested: { list: [1, 'two: 2'], none: null } };
  const itemColumns = [{ title: 'name', value: (one: typeof item) => one.name }];

  test.each([
    [
      'json',
      '{\n  "name": "job",\n  "nested": {\n    "list": [\n      1,\n      "two: 2"\n    ],\n    "none": null\n  }\n}\n',
    ],
    ['tsv', 'job\n'],
    ['table', 'name  job\n'],
  ] as const)('%s', async (format, wanted) => {
    const host = testHost();
    (await outputOn(host, format)).item(item, itemColumns);
    expect([host.out, host.err]).toEqual([wanted, '']);
  });

  test('yaml reads back as what it was', async () => {
    const host = testHost();
    (await outputOn(host, 'yaml')).list([item], itemColumns);
    expect(parse(host.out)).toEqual([item]);
  });

  test('jsonc is the same text with colours, and the same bytes without', async () => {
    const coloured = testHost();
    (await outputOn(coloured, 'jsonc', true)).item(item, itemColumns);
    expect(coloured.out).toContain('\x1b[34m"name"\x1b[0m: \x1b[32m"job"\x1b[0m');
    const plain = testHost();
    (await outputOn(plain, 'json')).item(item, itemColumns);
    // eslint-disable-next-line no-control-regex
    expect(coloured.out.replaceAll(/\x1b\[\d*m/g, '')).toBe(plain.out);
  });

  test('nobody chose: a table on a terminal, JSON into a pipe', async () => {
    const [terminal, pipe] = [testHost({ isTerminal: true }), testHost()];
    (await outputOn(terminal, null)).item(item, itemColumns);
    (await outputOn(pipe, null)).item(item, itemColumns);
    expect(terminal.out).toBe('name  job\n');
    expect(JSON.parse(pipe.out)).toEqual(item);
  });

  test('an empty list is an empty array, and no table', async () => {
    const [table, json] = [testHost(), testHost()];
    (await outputOn(table, 'table')).list([], itemColumns);
    (await outputOn(json, 'json')).list([], itemColumns);
    expect([table.out, json.out]).toEqual(['', '[]\n']);
  });

  test('events are lines for people unless a format was asked for', async () => {
    const cases = [
      [null, 'text\n'],
      ['table', 'text\n'],
      ['json', `${JSON.stringify(item)}\n`],
      ['tsv', 'job\n'],
    ] as const;
    for (const [format, wanted] of cases) {
      const host = testHost();
      (await outputOn(host, format)).event(item, itemColumns, 'text');
      expect([format, host.out]).toEqual([format, wanted]);
    }
  });

  test('an error says its code, what to do, and its detail, on stderr only', async () => {
    const host = testHost();
    (await outputOn(host, 'json')).failure(
      new BatchError('SCORER_FAILED', 'run() raised ValueError', { detail: 'Traceback\n  line 3\n' }),
    );
    expect(host.out).toBe('');
    expect(host.err.split('\n')).toEqual([
      'error SCORER_FAILED: run() raised ValueError',
      new BatchError('SCORER_FAILED', '').rule.help,
      '    Traceback',
      '      line 3',
      '',
    ]);
  });
});

describe('progress', () => {
  test('on a terminal one line is redrawn, not too often, and taken away before other text', async () => {
    const host = testHost({ isTerminal: true });
    const output = await outputOn(host, 'json');
    output.progress('one');
    output.progress('two');
    host.nowMs = 100;
    output.progress('x'.repeat(200));
    output.note('done');
    expect(host.err).toBe(`\r\x1b[2Kone\r\x1b[2K${'x'.repeat(79)}\r\x1b[2Kdone\n`);
  });

  test('elsewhere it is a plain line now and then, and none twice', () => {
    const host = testHost();
    const line = createProgress(host.stderr, host.clock);
    line.update('one');
    host.nowMs = 9_999;
    line.update('two');
    host.nowMs = 10_000;
    line.update('one');
    line.update('three');
    host.nowMs = 20_001;
    line.update('three');
    line.clear();
    expect(host.err).toBe('one\nthree\n');
  });

  test('a job in one line', () => {
    const job = jobView('job-1', 'Running');
    expect(progressText(job, null)).toBe('Running  250/500 files (50 %) · 250 rows · 1 node');
    expect(progressText({ ...job, nodes: 0, waiting: 'no worker node' }, { whole: 2.5, recent: 5 })).toBe(
      'Running  250/500 files (50 %) · 250 rows · 5.0 files/s · 50 s to 2 min left · 0 nodes · waiting: no worker node',
    );
    const listing = { ...job, files: { ...job.files, is_listed: false, failed: 3 } };
    expect(progressText(listing, { whole: 50, recent: 50 })).toBe(
      'Running  250/500+ files · 250 rows · 3 failed · 50 files/s · 1 node',
    );
    expect(progressText({ ...job, nodes: 0, status: 'Finalizing' }, null)).toBe(
      'Finalizing  250/500 files (50 %) · 250 rows',
    );
  });

  test('a job’s end in one line', () => {
    const job = jobView('job-1', 'Completed');
    expect(fateText(job)).toBe('job-1 Completed: 250 of 500 files, 250 rows in /out/predictions.csv');
    expect(fateText({ ...job, status: 'Failed', files: { ...job.files, failed: 2 } })).toBe(
      'job-1 Failed: 250 of 500 files, 250 rows; 2 failed, see _errors.jsonl',
    );
    expect(fateText({ ...job, files: { ...job.files, failed: 2, missing: 1 } })).toBe(
      'job-1 Completed: 250 of 500 files, 250 rows in /out/predictions.csv; 2 failed, see _errors.jsonl; 1 file has no ' +
        'result: run() returned fewer rows than it was given files; return at least one row for each, or raise for one that cannot be scored',
    );
  });

  test('files that failed count nowhere as files: sheet, progress and end say the same', () => {
    const job = jobView('job-1', 'Completed');
    const ended = { ...job, files: { ...job.files, total: 5, scored: 4, failed: 1 }, rows: 4 };
    const cells = jobColumns
      .filter(({ title }) => ['files', 'failed'].includes(title))
      .map(({ value }) => value(ended));
    expect(cells).toEqual(['4/5', 1]);
    expect(progressText(ended, null)).toContain('4/5 files (100 %) · 4 rows · 1 failed');
    expect(fateText(ended)).toContain('4 of 5 files, 4 rows');
  });

  test('where all errors are, and from when on', () => {
    const errors = {
      ...{ name: 'job-1', failed_files: 1, groups: 0, value: [], logs_path: '/out/_logs' },
      error: { code: 'INTERNAL', message: 'm', trace: '' },
    } as const;
    expect(errorsText({ ...errors, status: 'Running' })).toContain(
      'more: /out/_errors.jsonl (once the job has ended)\n',
    );
    expect(errorsText({ ...errors, status: 'Completed' })).toContain('more: /out/_errors.jsonl\n');
  });

  test('what was given up last, with what is known of it', () => {
    const failure = {
      first: 299,
      count: 1,
      code: 'SCORER_TIMEOUT',
      message: 'too long',
      node: 'n1',
      tries: 4,
    } as const;
    const known = { run_seconds: 2.04, peak_memory_bytes: 16_777_216, host_exit: 'signal SIGKILL' };
    const unknown = { run_seconds: null, peak_memory_bytes: null, host_exit: null };
    const cell = (job: JobView): unknown => jobSheet.find(({ title }) => title === 'last failure')?.value(job);
    const job = jobView('job-1', 'Running');
    expect(cell(job)).toBe(null);
    expect(cell({ ...job, last_failure: { ...failure, ...known } })).toBe(
      'file 299 on n1: SCORER_TIMEOUT: too long (tried 4 times, 2.0 s, 16 MiB at most, host ended: signal SIGKILL)',
    );
    expect(cell({ ...job, last_failure: { ...failure, ...unknown, count: 2, node: null, tries: 1 } })).toBe(
      'files 299 to 300: SCORER_TIMEOUT: too long (tried 1 time)',
    );
  });

  test('the first cell of a job in tsv is its name', () => {
    for (const some of [jobColumns, jobSheet])
      expect(formatTsv([jobView('job-1', 'Queued')], some)).toMatch(/^job-1\tQueued\t/);
  });
});

describe('server-sent events', () => {
  const text =
    'retry: 1000\n\nid: 1\nevent: state\ndata: {"a":1}\n\n: alive\n\nid:2\r\ndata: x\r\ndata: y\r\n\r\ndata\n\n';
  const wanted = [
    { event: 'state', data: '{"a":1}', id: '1' },
    { event: 'message', data: 'x\ny', id: '2' },
    { event: 'message', data: '', id: null },
  ];
  test('are the same however the text was cut', () => {
    for (let size = 1; size <= text.length; size += 1) {
      const reader = new EventReader();
      const events = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        reader.push(text.slice(i * size, (i + 1) * size)),
      ).flat();
      expect(events).toEqual(wanted);
    }
  });
  test('one that is not whole is not given', () => {
    expect(new EventReader().push('data: x\n')).toEqual([]);
  });
});
