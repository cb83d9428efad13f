/**
 * Signatures of files: a JSON Web Signature in compact form without its content, which stays as it is beside it.
 * @source RFC 7515 (appendix F), RFC 8037 (Ed25519), RFC 7638 (thumbprints)
 */
import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import * as z from 'zod';
import { parseJson } from '../core/parse-json.ts';

export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
}

const headerShape = z.object({ alg: z.literal('EdDSA'), kid: z.string(), crit: z.never().optional() });
const jwkShape = z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: z.string().regex(/^[\w-]{43}$/) });

/** Null when the key is not an Ed25519 key. */
export function publicJwk(key: KeyObject): PublicJwk | null {
  const parsed = jwkShape.safeParse(key.export({ format: 'jwk' }));
  return parsed.success ? parsed.data : null;
}

/** Key id: the thumbprint, base64url. */
export function thumbprint({ crv, kty, x }: PublicJwk): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url');
}

/** From the text of a PEM file or of a JSON Web Key; null for anything else. */
export function parsePublicKey(text: string): PublicJwk | null {
  try {
    const jwk = text.trimStart().startsWith('{') ? jwkShape.safeParse(JSON.parse(text)) : null;
    if (jwk === null) return publicJwk(createPublicKey(text));
    if (!jwk.success) return null;
    return publicJwk(createPublicKey({ key: { ...jwk.data }, format: 'jwk' }));
  } catch {
    // Whatever OpenSSL thinks of it, it is no key.
    return null;
  }
}

/** `privateKey`: PEM. */
export function signDetached(privateKey: string, content: Uint8Array): string {
  const key = createPrivateKey(privateKey);
  const jwk = publicJwk(createPublicKey(key));
  if (jwk === null) throw new TypeError('wanted an Ed25519 key');
  const header = base64url(JSON.stringify({ alg: 'EdDSA', kid: thumbprint(jwk) }));
  return `${header}..${sign(null, signingInput(header, content), key).toString('base64url')}`;
}

/** Why `jws` is not `key`'s signature of `content`; null when it is. */
export function signatureDefect(jws: string, content: Uint8Array, key: PublicJwk): string | null {
  const [header = '', payload, signature = '', ...more] = jws.trimEnd().split('.');
  if (payload !== '' || more.length > 0 || !/^[\w-]+$/.test(header) || !/^[\w-]+$/.test(signature)) {
    return 'it is no JSON Web Signature without content';
  }
  const parsed = headerShape.safeParse(parseJson(Buffer.from(header, 'base64url').toString()));
  if (!parsed.success) return 'its header is not that of an Ed25519 signature';
  const kid = thumbprint(key);
  if (parsed.data.kid !== kid) return `it is made with key ${parsed.data.kid}, not with ${kid}`;
  const bytes = Buffer.from(signature, 'base64url');
  const isCanonical = bytes.toString('base64url') === signature;
  if (isCanonical && isSignature(bytes, signingInput(header, content), key)) return null;
  return 'it is not of this content';
}

function isSignature(signature: Uint8Array, input: Uint8Array, key: PublicJwk): boolean {
  try {
    return verify(null, input, createPublicKey({ key: { ...key }, format: 'jwk' }), signature);
  } catch {
    // OpenSSL knows no such key.
    return false;
  }
}

function signingInput(header: string, content: Uint8Array): Buffer {
  return Buffer.from(`${header}.${Buffer.from(content).toString('base64url')}`);
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}
