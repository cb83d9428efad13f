import { describe, expect, test } from 'vitest';
import { formatAddress, isLoopback, parseAddress } from '../../common/config/address.ts';
import { editDistance, nearestWord } from '../../common/config/nearest-word.ts';
import { coordinatorSettings, isColorWanted, workerSettings } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';

function codeOf(call: () => unknown): string {
  try {
    return `no error, but ${JSON.stringify(call())}`;
  } catch (error) {
    if (error instanceof BatchError) return error.code;
    throw error;
  }
}

describe('addresses', () => {
  test.each([
    ['127.0.0.1:7077', '127.0.0.1', 7_077],
    ['machine.local:1', 'machine.local', 1],
    ['[::1]:65535', '::1', 65_535],
    [':7077', '127.0.0.1', 7_077],
  ])('%s', (text, host, port) => {
    expect(parseAddress(text, 'x')).toEqual({ host, port });
    if (!text.startsWith(':')) expect(formatAddress({ host, port })).toBe(text);
  });

  test.each(['', '7077', 'host', 'host:', 'host:70000', 'http://host:1', '::1:7077', 'a b:1', 'host:1/x'])(
    '%j is none',
    (text) => expect(codeOf(() => parseAddress(text, 'x'))).toBe('USAGE'),
  );

  test('loopback is what never leaves the machine', () => {
    expect(['localhost', '127.0.0.1', '127.9.9.9', '::1'].filter((host) => !isLoopback(host))).toEqual([]);
    expect(['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example', 'localhost.example', ''].filter(isLoopback)).toEqual([]);
  });
});

describe('settings of processes', () => {
  test('defaults', () => {
    const settings = coordinatorSettings({}, {});
    expect(settings).toMatchObject({
      listen: { host: '127.0.0.1', port: 7_077 },
      http: { host: '127.0.0.1', port: 7_078 },
      isInsecure: false,
      joinTokenMs: 86_400_000,
      heartbeatMs: null,
    });
    expect(settings.stateDir).toMatch(/^\/.*\/\.batchmill$/);
    const worker = workerSettings('a:1', {}, {});
    expect(worker.slots).toBeGreaterThanOrEqual(1);
    expect(worker).toMatchObject({ token: null, fingerprint: null, isInsecure: false, python: 'python3' });
  });

  test('the journal on NATS', () => {
    const journal = (text: string) => coordinatorSettings({ journal: text }, {}).journal;
    expect(coordinatorSettings({}, {}).journal).toBeNull();
    expect(journal('nats://a:4222')).toEqual({ servers: ['a:4222'], name: 'default', replicas: 1 });
    const three = { servers: ['a:1', '[::1]:2', 'c:3'], name: 'my-lab_1', replicas: 3 };
    expect(journal('nats://a:1,[::1]:2,c:3/my-lab_1')).toEqual(three);
    expect(journal('nats://a:1,b:2,c:3/x?replicas=5')).toMatchObject({ replicas: 5 });
    for (const wrong of ['a:4222', 'nats://', 'nats://a', 'nats://a:1/b c', 'nats://a:1/b?replicas=2', 'http://a:1'])
      expect(codeOf(() => journal(wrong))).toBe('USAGE');
  });

  test('a flag wins over the environment, which wins over the default; an empty variable is none', () => {
    const environment = { BATCHMILL_STATE_DIR: '/env', BATCHMILL_LISTEN: ':5', BATCHMILL_HTTP: '' };
    expect(coordinatorSettings({ stateDir: '/flag' }, environment)).toMatchObject({
      stateDir: '/flag',
      listen: { port: 5 },
      http: { port: 7_078 },
    });
    expect(coordinatorSettings({}, environment).stateDir).toBe('/env');
  });

  test('a variable of the wrong form is named', () => {
    expect(() => workerSettings('a:1', {}, { BATCHMILL_SLOTS: 'many' })).toThrow(/^BATCHMILL_SLOTS: wanted/);
    expect(() => coordinatorSettings({}, { BATCHMILL_INSECURE: 'perhaps' })).toThrow(/^BATCHMILL_INSECURE: wanted/);
    expect(() => coordinatorSettings({ stateDir: '' }, {})).toThrow(/^--state-dir: wanted a value/);
  });

  test('doing without TLS and tokens must be asked for, by the flag or the environment, everywhere', () => {
    expect(coordinatorSettings({ listen: '0.0.0.0:1' }, {}).isInsecure).toBe(false);
    expect(coordinatorSettings({ insecure: true }, {}).isInsecure).toBe(true);
    expect(coordinatorSettings({}, { BATCHMILL_INSECURE: '1' }).isInsecure).toBe(true);
    expect(workerSettings('a:1', { insecure: true }, {}).isInsecure).toBe(true);
    expect([
      workerSettings('a:1', { peers: false }, {}).peers,
      workerSettings('a:1', {}, { BATCHMILL_PEERS: '0' }).peers,
    ]).toEqual([false, false]);
  });

  test('fingerprints of authorities are taken as tools write them', () => {
    const digits = 'ab'.repeat(32);
    const taken = (text: string): string | null => workerSettings('a:1', { caFingerprint: text }, {}).fingerprint;
    const colons = 'AB:'.repeat(32).slice(0, -1);
    expect([`sha256:${digits}`, colons, `SHA256:${digits}`].map(taken)).toEqual(Array(3).fill(`sha256:${digits}`));
    expect(codeOf(() => taken('sha256:abc'))).toBe('USAGE');
  });

  test.each([
    ['5s', 5_000],
    ['5', 5_000],
    ['250ms', 250],
    ['0.5s', 500],
    ['auto', null],
  ])('heartbeat interval %s', (text, wanted) => {
    expect(coordinatorSettings({ heartbeatInterval: text }, {}).heartbeatMs).toBe(wanted);
  });

  test.each(['0', '-1s', '2h', '3601s', ''])('heartbeat interval %j is refused', (text) => {
    expect(codeOf(() => coordinatorSettings({ heartbeatInterval: text }, {}))).toBe('USAGE');
  });

  test('colour only on a terminal that wants it', () => {
    expect([isColorWanted(true, {}), isColorWanted(false, {})]).toEqual([true, false]);
    expect([isColorWanted(true, { NO_COLOR: '1' }), isColorWanted(true, { TERM: 'dumb' })]).toEqual([false, false]);
    expect(isColorWanted(true, { NO_COLOR: '' })).toBe(true);
  });
});

describe('the nearest word', () => {
  test('counts letters and swaps', () => {
    expect(editDistance('kitten', 'sitting')).toBe(3);
    expect(editDistance('modle', 'model')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('same', 'same')).toBe(0);
  });
  test('is none when nothing is near', () => {
    expect(nearestWord('mini_batch_sise', ['mini_batch_size', 'timeout'])).toBe('mini_batch_size');
    expect(nearestWord('Timeout', ['timeout'])).toBe('timeout');
    expect(nearestWord('colour', ['timeout', 'code'])).toBeNull();
  });
});
