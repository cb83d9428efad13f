import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { secretNames, withSecrets } from '../../common/core/secret-reference.ts';
import { Secrets } from '../../coordinator/access/secrets.ts';
import { SecretMask } from '../../worker/secret-mask.ts';
import { failing } from '../helpers/failing.ts';

describe('references', () => {
  test('stand alone or within text, each name once', () => {
    expect(secretNames({ A: '${secret:a}', B: 'x-${secret:b}-${secret:a}', C: '$secret:c ${secret}' })).toEqual([
      'a',
      'b',
    ]);
  });

  test('are filled once: a value that looks like a reference stays as it is', () => {
    const filled = withSecrets({ A: '<${secret:a}>', B: '${secret:b}', C: '$&' }, { a: '${secret:b}$&', b: 'x' });
    expect(filled).toEqual({ A: '<${secret:b}$&>', B: 'x', C: '$&' });
    expect(withSecrets({ A: '${secret:toString}' }, {})).toEqual({ A: '${secret:toString}' });
  });
});

describe('secrets of a coordinator', () => {
  let dir = '';
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'batchmill-secrets-'))));
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('are kept over a restart, for their owner alone', async () => {
    const secrets = await Secrets.open(dir);
    await secrets.set('key', 'one', 1);
    await secrets.set('key', 'two', 2);
    await secrets.set('a.b', ' three\n', 3);
    const path = join(dir, 'secrets', 'key');
    expect([
      readFileSync(path, 'utf8'),
      statSync(path).mode & 0o777,
      statSync(join(dir, 'secrets')).mode & 0o777,
    ]).toEqual(['two', 0o600, 0o700]);
    const again = await Secrets.open(dir);
    expect(again.list().map(({ name }) => name)).toEqual(['a.b', 'key']);
    expect(again.valuesFor({ X: '${secret:key}', Y: '${secret:a.b}' })).toEqual({ key: 'two', 'a.b': ' three\n' });
    await again.remove('key');
    expect((await Secrets.open(dir)).list()).toHaveLength(1);
    await expect(again.remove('key')).rejects.toThrow(failing('SECRET_NOT_FOUND', '${secret:key}'));
  });

  test.each(['', '..', '../x', 'a/b', '.a', 'a b', 'x'.repeat(200)])('%j is no name', async (name) => {
    const secrets = await Secrets.open(dir);
    await expect(secrets.set(name, 'v', 1)).rejects.toThrow(failing('REQUEST_INVALID', 'name'));
    expect(() => secrets.require({ X: `\${secret:${name}}` })).toThrow(failing('SECRET_NOT_FOUND', name));
  });

  test('a value that no environment can hold is refused', async () => {
    const secrets = await Secrets.open(dir);
    for (const value of ['', 'a\0b', 'x'.repeat(limits.secretBytesMax + 1)]) {
      await expect(secrets.set('key', value, 1)).rejects.toThrow(
        failing('REQUEST_INVALID', 'bytes of text without NUL'),
      );
    }
  });
});

describe('the mask', () => {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

  test('there is none for values that would stand in innocent texts', () => {
    expect(SecretMask.of({ a: 'short' })).toBeNull();
    expect(SecretMask.of(undefined)).toBeNull();
  });

  test('takes the longest value first, and one that ends with a newline as it is printed', () => {
    const mask = SecretMask.of({ a: 'secret', b: 'secret-longer\n' });
    expect(mask?.text('secret-longer and secret, Secret')).toBe('*** and ***, Secret');
    expect(mask?.failure({ code: 'SCORER_FAILED', message: 'a secret', detail: 'x\nsecret' })).toEqual({
      ...{ code: 'SCORER_FAILED', message: 'a ***', detail: 'x\n***' },
    });
  });

  test('finds a value however it is cut into pieces, and keeps nothing else back', () => {
    const printed = 'früh sesame-öpen, sesame-sesame-öpen sesa end sesame-';
    const bytes = Buffer.from(printed);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      for (const second of [cut, Math.min(bytes.length, cut + 3)]) {
        const stream = SecretMask.of({ a: 'sesame-öpen' })?.stream();
        const pieces = [bytes.subarray(0, cut), bytes.subarray(cut, second), bytes.subarray(second)];
        const out = [...pieces.map((piece) => stream?.push(piece) ?? piece), stream?.flush() ?? Buffer.alloc(0)];
        expect(text(Buffer.concat(out))).toBe('früh ***, sesame-*** sesa end sesame-');
      }
    }
  });
});
