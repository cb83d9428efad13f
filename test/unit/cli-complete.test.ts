/** What may stand where somebody is typing, told from the program's own words. */
import { describe, expect, test } from 'vitest';
import { wantedAt } from '../../cli/commands/complete.ts';
import { wordsOf } from '../../cli/command-words.ts';
import { buildProgram } from '../../cli/program.ts';
import { cli } from '../helpers/cli-host.ts';

const program = wordsOf(buildProgram('0.0.0', () => Promise.resolve()));

/** `line` ends where the cursor is. */
function wanted(line: string): unknown {
  const at = wantedAt(program, line.split(' '));
  return at.kind === 'words' ? at.words.map(({ word }) => word) : at;
}

describe('words', () => {
  test('commands, of the program and of a group', () => {
    expect(wanted('')).toEqual(expect.arrayContaining(['run', 'job', 'batch-endpoint', 'completion', 'context']));
    expect(wanted('')).not.toContain('__complete');
    expect(wanted('ml batch-endpoint ')).toEqual(['create', 'show', 'list', 'update', 'delete', 'list-jobs', 'invoke']);
    expect(wanted('endpoint ')).toEqual(wanted('batch-endpoint '));
  });
  test('flags and choices', () => {
    expect(wanted('endpoint invoke --inp')).toEqual(expect.arrayContaining(['--input', '--input-type', '--set']));
    expect(wanted('endpoint invoke --input-type ')).toEqual(['uri_folder', 'uri_file']);
    expect(wanted('job list -o ')).toContain('yaml');
    expect(wanted('completion ')).toEqual(['bash', 'zsh', 'fish']);
  });
});

describe('names that the coordinator knows', () => {
  test.each([
    ['job show ', 'job', null],
    ['job stream -n ', 'job', null],
    ['endpoint show --name ', 'endpoint', null],
    ['batch-deployment create -f d.yml -e ', 'endpoint', null],
    ['batch-deployment show -e mine -n ', 'deployment', 'mine'],
    ['endpoint invoke -n mine --deployment-name ', 'deployment', 'mine'],
    ['model show -n ', 'model', null],
  ])('%s', (line, of, endpoint) => {
    expect(wanted(line)).toEqual({ kind: 'names', of, endpoint });
  });
  test('files elsewhere', () => {
    expect(wanted('run ')).toEqual({ kind: 'files' });
    expect(wanted('endpoint create -f ')).toEqual({ kind: 'files' });
  });
});

test('a coordinator that is not there adds nothing, and is no error', async () => {
  const environment = { BATCHMILL_SERVER: '127.0.0.1:1' };
  expect(await cli(['__complete', '--', 'job', 'show', ''], { environment })).toEqual({
    code: 0,
    stdout: '',
    stderr: '',
  });
  const words = await cli(['__complete', '--', 'job', 'st'], { environment });
  expect(words.stdout).toMatch(/^stream\t.*\n$/);
});

test.each(['bash', 'zsh', 'fish'])('completion %s prints a script', async (shell) => {
  expect((await cli(['completion', shell])).stdout).toContain('batchmill __complete -- ');
});
