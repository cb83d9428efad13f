/** `--query` and what each form makes of what it leaves; the forms are those that `az` prints. */
import { describe, expect, test } from 'vitest';
import { createOutput, type AnswerFormat } from '../../cli/output.ts';
import { compileQuery } from '../../cli/query.ts';
import { cli, testHost } from '../helpers/cli-host.ts';
import { failing } from '../helpers/failing.ts';

const jobs = [
  { name: 'one', status: 'Completed', paused: false, tags: { a: 'b' }, files: [1, 2, 3], error: null },
  { name: 'two', status: 'Failed', paused: true, tags: {}, files: [], error: 'x\ty' },
];

async function answer(query: string, format: AnswerFormat, value: unknown = jobs): Promise<string> {
  const host = testHost();
  const select = compileQuery(query);
  const hasColor = { stdout: false, stderr: false };
  const output = await createOutput({ ...host, format, select, isDebug: false, hasColor });
  if (Array.isArray(value)) output.list(value, []);
  else output.item(value, []);
  return host.out;
}

describe('-o tsv', () => {
  test.each([
    ['a scalar bare', '[0].name', 'one\n'],
    ['a truth value alone', '[0].paused', 'false\n'],
    ['a list, one a line', '[].name', 'one\ntwo\n'],
    ['an object, in the order of the query', '[].{S:status,N:name}', 'Completed\tone\nFailed\ttwo\n'],
    [
      'truth, nothing, lists and objects among others',
      '[].[paused,error,files,tags]',
      'False\tNone\t3\t\nTrue\tx y\t0\t\n',
    ],
    ['nothing at all', '[0].gone', ''],
    ['an empty list', "[?name=='three'].name", ''],
    ['a literal without quotes, as old scripts have it', '[?status==`Completed`].name', 'one\n'],
  ])('%s', async (_what, query, wanted) => {
    expect(await answer(query, 'tsv')).toBe(wanted);
  });
});

describe('other forms', () => {
  test.each([
    ['json', '[0].name', '"one"\n'],
    ['json', '[0].gone', 'null\n'],
    ['json', "[?name=='three']", '[]\n'],
    ['json', '[0].{b:name,a:status}', '{\n  "b": "one",\n  "a": "Completed"\n}\n'],
    ['yaml', '[].name', '- one\n- two\n'],
    ['none', '[].name', ''],
    ['table', '[].{Name:name,Jobstatus:status}', 'Name  Jobstatus\none   Completed\ntwo   Failed\n'],
    ['table', '[].name', 'one\ntwo\n'],
    ['table', '[].[name,files[0]]', 'Column1  Column2\none            1\ntwo\n'],
    ['table', '[0].{N:name,T:tags}', 'N\none\n'],
    ['table', '[0].gone', ''],
  ] as const)('-o %s --query %s', async (format, query, wanted) => {
    expect(await answer(query, format)).toBe(wanted);
  });

  test('of one thing', async () => {
    expect(await answer('{Name:name,S:status}', 'table', jobs[0])).toBe('Name  S\none   Completed\n');
  });
});

describe('a query that is none', () => {
  test('is wrong usage before anything is done', async () => {
    const { code, stdout, stderr } = await cli(['job', 'list', '--query', '[].']);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('error USAGE: --query: "[]." is not a JMESPath expression');
  });
  test('also where its function does not fit the answer', () => {
    expect(() => compileQuery('sort(@)')({ a: 1 })).toThrow(failing('USAGE', 'sort'));
  });
});
