/** The file of contexts: what is written is read again, by its owner alone, and the order in which a coordinator is chosen. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  changeContexts,
  connectionSetting,
  contextsFile,
  readContexts,
  withContext,
  withoutContext,
  writeContexts,
  type Context,
} from '../../common/config/contexts.ts';
import { formatAddress } from '../../common/config/address.ts';
import { failing } from '../helpers/failing.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
let environment: Record<string, string>;
beforeEach(() => {
  folder = new TempFolder();
  environment = { XDG_CONFIG_HOME: join(folder.path, 'config') };
});
afterEach(() => folder.remove());

const contextAt = (port: number, rest: Partial<Context> = {}): Context => ({
  server: { host: 'alpha', port },
  ca: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  caFingerprint: `sha256:${'ab'.repeat(32)}`,
  token: 'secret',
  isInsecure: false,
  ...rest,
});

const put = (text: string): void => folder.put({ 'config/batchmill/contexts.yml': text });

describe('the file', () => {
  test('what is written is read again, and only its owner may', async () => {
    await changeContexts((all) => withContext(all, 'one', contextAt(1)), environment);
    await changeContexts(
      (all) =>
        withContext(all, 'two', contextAt(2, { ca: null, caFingerprint: null, token: null, isInsecure: true }), true),
      environment,
    );
    const file = contextsFile(environment);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(dirname(file))).mode & 0o777).toBe(0o700);
    expect(await readdir(dirname(file))).toEqual(['contexts.yml']);
    const { current, byName } = await readContexts(environment);
    expect([current, Object.fromEntries(byName)]).toEqual([
      'two',
      {
        one: contextAt(1),
        two: contextAt(2, { ca: null, caFingerprint: null, token: null, isInsecure: true }),
      },
    ]);
    expect(await readFile(file, 'utf8')).toMatch(/^current: two\ncontexts:\n {2}one:\n {4}server: alpha:1\n {4}ca: \|/);
  });

  test('a file that others could read is closed by the next change', async () => {
    put('contexts: {}\n');
    await writeContexts(withContext(await readContexts(environment), 'one', contextAt(1)), environment);
    expect((await stat(contextsFile(environment))).mode & 0o777).toBe(0o600);
  });

  test('the first one is current; the one that is removed no more', async () => {
    const one = withContext({ current: null, byName: new Map() }, 'one', contextAt(1));
    expect(one.current).toBe('one');
    expect(withContext(one, 'two', contextAt(2)).current).toBe('one');
    expect(withoutContext(one, 'one')).toEqual({ current: null, byName: new Map() });
    expect(() => withoutContext(one, 'ones')).toThrow(failing('CONTEXT_NOT_FOUND', 'did you mean one?'));
    expect(() => withContext(one, '../x', contextAt(1))).toThrow(failing('USAGE', '"../x"'));
  });

  test('a mistake in it is told with its place', async () => {
    put('contexts:\n  one:\n    server: alpha:1\n    tokn: x\n');
    await expect(readContexts(environment)).rejects.toThrow(failing('CONFIG_UNKNOWN_KEY', 'contexts.yml:4:5'));
    put('contexts:\n  one:\n    server: alpha\n');
    await expect(readContexts(environment)).rejects.toThrow(failing('USAGE', 'contexts.yml:3:13: wanted HOST:PORT'));
  });
});

describe('which coordinator', () => {
  const file = [
    'current: one',
    'contexts:',
    '  one: { server: "alpha:1", token: a }',
    '  two: { server: "beta:2", insecure: true }',
  ].join('\n');
  test.each([
    ['nothing said', {}, {}, 'alpha:1 a TLS'],
    ['BATCHMILL_CONTEXT', {}, { BATCHMILL_CONTEXT: 'two' }, 'beta:2 null plain'],
    [
      'BATCHMILL_SERVER before BATCHMILL_CONTEXT',
      {},
      { BATCHMILL_SERVER: 'gamma:3', BATCHMILL_CONTEXT: 'two' },
      'gamma:3 null plain',
    ],
    ['--context before the environment', { context: 'two' }, { BATCHMILL_SERVER: 'gamma:3' }, 'beta:2 null plain'],
    ['--server before all', { server: 'gamma:3', context: 'two' }, { BATCHMILL_CONTEXT: 'one' }, 'gamma:3 null plain'],
    ['the address of a context', { server: 'alpha:1' }, {}, 'alpha:1 a TLS'],
    ['the same, without TLS', { server: 'http://alpha:1/' }, {}, 'alpha:1 null plain'],
    ['TLS by its scheme', { server: 'https://gamma:3' }, {}, 'gamma:3 null TLS'],
  ] as const)('%s', async (_what, flags, variables, wanted) => {
    put(file);
    const found = await connectionSetting(flags, { ...environment, ...variables });
    expect(`${formatAddress(found.server)} ${found.token} ${found.isInsecure ? 'plain' : 'TLS'}`).toBe(wanted);
  });

  test('without any, loopback', async () => {
    expect(formatAddress((await connectionSetting({}, environment)).server)).toBe('127.0.0.1:7078');
    await expect(connectionSetting({ context: 'one' }, environment)).rejects.toThrow(
      failing('CONTEXT_NOT_FOUND', 'there is none yet'),
    );
  });
});
