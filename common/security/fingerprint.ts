/** Fingerprints of authorities, as join lines and contexts have them. */
import { createHash, X509Certificate } from 'node:crypto';
import { BatchError } from '../core/batch-error.ts';

/** Of a certificate's DER: `sha256:` and 64 hexadecimal digits. */
export function fingerprintOf(der: Uint8Array): string {
  return `sha256:${createHash('sha256').update(der).digest('hex')}`;
}

/** Of a certificate in PEM. */
export function fingerprintOfPem(pem: string): string {
  return fingerprintOf(new X509Certificate(pem).raw);
}

/** Also as other tools write it: upper case, with colons, without the name of the digest. @throws USAGE */
export function parseFingerprint(text: string, what: string): string {
  const digits = text
    .trim()
    .replace(/^sha-?256[:=]/i, '')
    .replaceAll(':', '')
    .toLowerCase();
  if (/^[0-9a-f]{64}$/.test(digits)) return `sha256:${digits}`;
  throw new BatchError('USAGE', `${what}: wanted sha256: and 64 hexadecimal digits, found ${JSON.stringify(text)}`);
}
