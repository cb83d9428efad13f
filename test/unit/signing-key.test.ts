import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parsePublicKey, signatureDefect, thumbprint, type PublicJwk } from '../../common/security/detached-jws.ts';
import { openSigningKey, readSigningKey, signingKeyPath } from '../../coordinator/signing-key.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-key-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('the key of a coordinator', () => {
  test('is made once, for its owner alone, also when two make it at a time', async () => {
    expect(await readSigningKey(dir)).toBeNull();
    const [one, other] = await Promise.all([openSigningKey(dir), openSigningKey(dir)]);
    const again = await openSigningKey(dir);
    expect(new Set([one, other, again].map((key) => key?.signedBy.key_id)).size).toBe(1);
    expect(statSync(signingKeyPath(dir)).mode & 0o777).toBe(0o600);
    expect(readdirSync(dir)).toEqual(['signing-key.pem']);
  });

  test('that is damaged, or of another kind, is no reason to make a new one', async () => {
    writeFileSync(signingKeyPath(dir), 'rubbish');
    await expect(openSigningKey(dir)).rejects.toThrow(failing('STATE_UNWRITABLE', 'it is no private key'));
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = String(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(signingKeyPath(dir), pem);
    await expect(openSigningKey(dir)).rejects.toThrow(failing('STATE_UNWRITABLE', 'it is no Ed25519 key'));
    expect(readFileSync(signingKeyPath(dir), 'utf8')).toBe(pem);
  });

  test('that cannot be read is told', async () => {
    mkdirSync(signingKeyPath(dir));
    await expect(openSigningKey(dir)).rejects.toThrow(failing('STATE_UNWRITABLE', 'EISDIR'));
  });

  test('signs what its public half, as PEM and as JWK, accepts, and nothing else', async () => {
    const key = await openSigningKey(dir);
    const content = Buffer.from('{"name":"digits-1"}\n');
    const jws = key.sign(content);
    for (const text of [key.publicPem, JSON.stringify(key.signedBy.jwk)]) {
      const parsed = parsePublicKey(text) as PublicJwk;
      expect(thumbprint(parsed)).toBe(key.signedBy.key_id);
      expect(signatureDefect(jws, content, parsed)).toBeNull();
      expect(signatureDefect(jws, Buffer.from('{"name":"digits-2"}\n'), parsed)).toBe('it is not of this content');
    }
    for (const text of ['', '{}', '{', 'rubbish', JSON.stringify({ ...key.signedBy.jwk, x: 'short' })]) {
      expect(parsePublicKey(text)).toBeNull();
    }
  });

  test('a header that asks for another algorithm, or for what we do not know, is refused', async () => {
    const key = await openSigningKey(dir);
    const content = Buffer.from('x');
    const signature = key.sign(content).split('..')[1] ?? '';
    const header = (fields: Record<string, unknown>): string =>
      Buffer.from(JSON.stringify(fields)).toString('base64url');
    const kid = key.signedBy.key_id;
    for (const fields of [
      { alg: 'none', kid },
      { alg: 'HS256', kid },
      { alg: 'EdDSA', kid, crit: ['b64'] },
      { alg: 'EdDSA' },
    ]) {
      expect(signatureDefect(`${header(fields)}..${signature}`, content, key.signedBy.jwk)).toContain('its header');
    }
    expect(signatureDefect(`${header({ alg: 'EdDSA', kid })}.eA.${signature}`, content, key.signedBy.jwk)).toContain(
      'no JSON Web',
    );
  });
});

test('the thumbprint is that of RFC 8037, appendix A.3', () => {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' } as const;
  expect(thumbprint(jwk)).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
});
