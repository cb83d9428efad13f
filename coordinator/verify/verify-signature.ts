/** Who vouches for the manifest. */
import { join } from 'node:path';
import { signatureDefect, thumbprint, type PublicJwk } from '../../common/security/detached-jws.ts';
import type { Manifest } from '../output/manifest-schema.ts';
import { signatureName } from '../output/output-names.ts';
import { sizeOf } from '../output/recover-output.ts';
import { openSealed, type Place } from './sealed-files.ts';

/** `own-key`: with the key that the manifest itself names, which anybody may have put there. `given-key`: with the one asked for. */
export type SignatureState = 'none' | 'own-key' | 'given-key' | 'invalid';

/** More than a signature ever has. */
const signatureBytesMax = 4_096;

export async function verifySignature(
  place: Place,
  manifest: Manifest,
  content: Uint8Array,
  given: PublicJwk | null,
): Promise<SignatureState> {
  const refuse = (kind: 'altered' | 'missing' | 'unsigned', message: string): SignatureState => {
    place.findings.add({ code: 'SIGNATURE_INVALID', kind, path: signatureName, place: null, message });
    return 'invalid';
  };
  const signedBy = manifest.signed_by;
  const size = await sizeOf(place.fileSystem, join(place.dir, signatureName));
  if (signedBy === null && size === null) {
    if (given === null) return 'none';
    return refuse('unsigned', `the manifest is not signed, wanted is a signature with key ${thumbprint(given)}`);
  }
  if (signedBy === null)
    return refuse('altered', `${signatureName} is there, and the manifest names no key that it was signed with`);
  if (size === null) return refuse('missing', `${signatureName} is gone; the manifest says that it is signed`);
  if (thumbprint(signedBy.jwk) !== signedBy.key_id) {
    return refuse('altered', `the manifest names key ${signedBy.key_id}, and gives another one`);
  }
  const defect = signatureDefect(await signatureText(place, size), content, given ?? signedBy.jwk);
  if (defect !== null) return refuse('altered', `${signatureName} does not hold: ${defect}`);
  return given === null ? 'own-key' : 'given-key';
}

async function signatureText(place: Place, size: number): Promise<string> {
  if (size > signatureBytesMax) return '';
  const file = await openSealed(place, signatureName);
  if (file === null) return '';
  try {
    const bytes = Buffer.alloc(size);
    await file.read(bytes, 0);
    return bytes.toString('latin1');
  } finally {
    await file.close();
  }
}
