/** What Azure's scripts write, as the program's own words have it. */
import { describe, expect, test } from 'vitest';
import { normaliseArguments, wordsOfValue, type CommandWords, type FlagWords } from '../../cli/arguments.ts';
import { failing } from '../helpers/failing.ts';

const flag = (names: string, takesValue = true): FlagWords => {
  const words = names.split(' ');
  const [long = null] = words.filter((one) => one.startsWith('--'));
  const [short = null] = words.filter((one) => !one.startsWith('--'));
  return { long, short, takesValue, choices: [], description: '' };
};
const command = (name: string, flags: readonly string[], commands: readonly CommandWords[] = []): CommandWords => ({
  name,
  aliases: name === 'batch-endpoint' ? ['endpoint'] : [],
  description: '',
  flags: flags.map((one) => flag(one, !one.endsWith('yes'))),
  commands,
});
const program = command(
  'batchmill',
  [],
  [
    command(
      'batch-endpoint',
      [],
      [
        command('invoke', [
          '-n --name',
          '-f --file',
          '--input',
          '--input-type',
          '--set',
          '-o --output',
          '--query',
          '-y --yes',
        ]),
        command('update', ['-n --name', '--set', '--add', '--remove', '-o --output']),
      ],
    ),
    command('run', ['--output', '-o --answer', '--set', '-w --wide']),
  ],
);

const normal = (line: string): string => normaliseArguments(line.split(' '), program).args.join(' ');

describe('arguments', () => {
  test.each([
    ['a leading ml', 'ml endpoint invoke --name x', 'endpoint invoke --name x'],
    [
      'where it is in Azure',
      'endpoint invoke -g rg -n x -w ws --subscription s --only-show-errors',
      'endpoint invoke -n x',
    ],
    ['the same attached', 'endpoint invoke -grg --resource-group=rg --workspace-name ws -n x', 'endpoint invoke -n x'],
    ['a short name of its own stays', 'run -w 3', 'run -w 3'],
    ['before the verb', '-g rg endpoint invoke -n x', 'endpoint invoke -n x'],
    [
      'unambiguous beginnings',
      'endpoint invoke --f in.yml --quer=name --na x',
      'endpoint invoke --file in.yml --query=name --name x',
    ],
    ['an exact name wins', 'endpoint invoke --input p', 'endpoint invoke --input p'],
    ['a beginning of what is dropped', 'endpoint invoke --sub s -n x', 'endpoint invoke -n x'],
    [
      'values are never read as flags',
      'endpoint invoke --input --na --query -g',
      'endpoint invoke --input --na --query -g',
    ],
    ['what nobody knows is left', 'endpoint invoke --fast', 'endpoint invoke --fast'],
    ['several assignments', 'endpoint invoke --set a=1 b.c=2 -n x', 'endpoint invoke --set a=1 --set b.c=2 -n x'],
    ['also attached', 'run --set=a=1 b=2 in', 'run --set=a=1 --set b=2 in'],
    ['a file after them', 'run --set a=1 d.yml b=2', 'run --set a=1 d.yml b=2'],
    ['nothing after it', 'run --set', 'run --set'],
    ['the form of the answer', 'endpoint invoke --answer json', 'endpoint invoke --output json'],
    ['unless --output is a folder', 'run --answer json --output out', 'run --answer json --output out'],
    ['all after --', 'run -- --na -g', 'run -- --na -g'],
  ])('%s', (_what, given, wanted) => {
    expect(normal(given)).toBe(wanted);
  });

  test('an ambiguous beginning names what it may be', () => {
    expect(() => normal('endpoint invoke --inp x --i y')).toThrow(
      failing('USAGE', '--inp may be --input or --input-type; say which'),
    );
  });

  test('the words after --add stay together, those of the next one apart', () => {
    const { args } = normaliseArguments('endpoint update --add a.b 1 2 --add c --remove x -1 -n e'.split(' '), program);
    expect(args.map(wordsOfValue)).toEqual([
      ['endpoint'],
      ['update'],
      ['--add'],
      ['a.b', '1', '2'],
      ['--add'],
      ['c'],
      ['--remove'],
      ['x', '-1'],
      ['-n'],
      ['e'],
    ]);
  });

  test('--debug is remembered', () => {
    expect(normaliseArguments(['run', '--debug'], program)).toEqual({ args: ['run'], isDebug: true });
  });
});
