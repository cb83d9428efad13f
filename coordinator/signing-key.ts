/** The coordinator's own key, with which it signs manifests: made at the first start, in the state directory. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { link, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { makeFolder } from '../common/io/make-folder.ts';
import { publicJwk, signDetached, thumbprint, type PublicJwk } from '../common/security/detached-jws.ts';
import type { ManifestSigner } from './output/seal.ts';

export interface SigningKey extends ManifestSigner {
  /** PEM, as `job verify --key` takes it. */
  readonly publicPem: string;
}

export function signingKeyPath(stateDir: string): string {
  return join(stateDir, 'signing-key.pem');
}

/** Readable by its owner only. @throws STATE_UNWRITABLE */
export async function openSigningKey(stateDir: string): Promise<SigningKey> {
  const path = signingKeyPath(stateDir);
  try {
    await makeFolder(stateDir, 0o700);
    const found = await readKey(path);
    if (found) return found;
    await makeKey(path);
    const made = await readKey(path);
    if (made) return made;
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    throw unusable(path, reasonOf(error), error);
  }
  throw unusable(path, 'it vanished right after it was made');
}

/** Of a coordinator that has been started once; null when there is none. @throws STATE_UNWRITABLE */
export async function readSigningKey(stateDir: string): Promise<SigningKey | null> {
  const path = signingKeyPath(stateDir);
  try {
    return await readKey(path);
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    throw unusable(path, reasonOf(error), error);
  }
}

async function readKey(path: string): Promise<SigningKey | null> {
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  const { jwk, publicPem } = publicHalf(pem, path);
  return {
    signedBy: { key_id: thumbprint(jwk), jwk },
    publicPem,
    sign: (content) => signDetached(pem, content),
  };
}

function publicHalf(pem: string, path: string): { readonly jwk: PublicJwk; readonly publicPem: string } {
  try {
    const key = createPublicKey(createPrivateKey(pem));
    const jwk = publicJwk(key);
    if (jwk) return { jwk, publicPem: String(key.export({ type: 'spki', format: 'pem' })) };
  } catch (error) {
    throw unusable(path, `it is no private key (${reasonOf(error)})`, error);
  }
  throw unusable(path, 'it is no Ed25519 key');
}

/** Whole under its name or not there: a crash in between must not leave half a key. */
async function makeKey(path: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const temporary = `${path}.${randomUUID()}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(String(privateKey.export({ type: 'pkcs8', format: 'pem' })));
    await file.sync();
  } finally {
    await file.close();
  }
  await link(temporary, path).catch((error: unknown) => {
    // Another process was quicker; its key is the one.
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  await rm(temporary);
}

function unusable(path: string, why: string, cause?: unknown): BatchError {
  return new BatchError('STATE_UNWRITABLE', `the signing key ${path} cannot be used: ${why}; restore it from a copy`, {
    cause,
  });
}
