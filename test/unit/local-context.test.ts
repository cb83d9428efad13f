/** The context that whoever starts a coordinator finds afterwards, and that finds whichever of several leads. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { keepLocalContext } from '../../cli/local-context.ts';
import { allPlaces, readContexts, connectionSetting } from '../../common/config/contexts.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
beforeEach(() => (folder = new TempFolder()));
afterEach(() => folder.remove());

const access = {
  authority: '-----BEGIN CERTIFICATE-----\n',
  fingerprint: `sha256:${'a'.repeat(64)}`,
  makeAdminToken: () => Promise.resolve('sesame'),
};

async function leads(port: number, isStandby: boolean): Promise<string | null> {
  return await keepLocalContext({ host: '127.0.0.1', port }, access, { XDG_CONFIG_HOME: folder.path }, isStandby);
}

async function places(): Promise<readonly string[]> {
  const found = (await readContexts({ XDG_CONFIG_HOME: folder.path })).byName.get('local');
  return found ? allPlaces(found) : [];
}

test('one that moves has one place', async () => {
  expect(await leads(1, false)).toContain('an admin token is in');
  expect(await leads(2, false)).toBe('context local is now at 127.0.0.1:2');
  expect(await places()).toEqual(['127.0.0.1:2']);
});

test('of several that lead in turn all places are kept, and each is asked with the token', async () => {
  await leads(1, true);
  expect(await leads(2, true)).toBe('context local is now at 127.0.0.1:2 and 127.0.0.1:1');
  expect(await leads(1, true)).toBeNull();
  expect(await leads(3, true)).toContain('127.0.0.1:3');
  expect(await places()).toEqual(['127.0.0.1:3', '127.0.0.1:2', '127.0.0.1:1']);
  const asked = (server: string) => connectionSetting({ server }, { XDG_CONFIG_HOME: folder.path });
  for (const server of ['127.0.0.1:1', '127.0.0.1:1,127.0.0.1:2', '127.0.0.1:9,127.0.0.1:3']) {
    expect(await asked(server)).toMatchObject({ token: 'sesame', isInsecure: false });
  }
  expect(await asked('127.0.0.1:9')).toMatchObject({ token: null, isInsecure: true });
});
