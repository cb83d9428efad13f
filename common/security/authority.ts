/**
 * The cluster's own certificate authority: it issues the coordinator's server certificate and one certificate to each
 * worker node. Server certificates may only serve and node certificates may only call, so that no node can pass for the
 * coordinator. Where keys are kept is for others. Certificates are put together here and signed by Node's own
 * cryptography; a thousand nodes that join at once are a thousand signatures, and nothing else that costs.
 *
 * @source RFC 5280 (certificates), RFC 2986 (requests), RFC 5758 (ECDSA with SHA-256)
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  randomBytes,
  sign,
  verify,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import { addressBytes, bitString, der, fromPem, oid, sequence, sequenceValues, tags, time, toPem } from './der.ts';
import { fingerprintOf } from './fingerprint.ts';
import { coordinatorName } from './server-identity.ts';

/** PEM texts of a certificate, with those above it where they are sent along, and of its key. */
export interface KeyPairPem {
  readonly key: string;
  readonly cert: string;
}

export interface IssuedCertificate {
  readonly cert: string;
  /** Hexadecimal, as `tls` gives it: upper case. */
  readonly serial: string;
  readonly expiresMs: number;
}

/** What differs from certificate to certificate. */
interface Wanted {
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  readonly nowMs: number;
  readonly lifeMs: number;
  readonly extensions: readonly Buffer[];
}

const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';
/** Bits of KeyUsage, with the number of unused ones before them. */
const digitalSignature = Buffer.from([7, 0x80]);
const keyCertSignAndCrlSign = Buffer.from([1, 0x06]);

export class Authority {
  /** PEM. */
  readonly cert: string;
  /** `sha256:` and the hexadecimal digest of the certificate's DER, as join lines have it. */
  readonly fingerprint: string;
  /** Of the certificate, as it stands there. */
  readonly #subject: Buffer;
  readonly #keyId: Buffer;
  readonly #key: KeyObject;

  private constructor(certificate: X509Certificate, key: KeyObject) {
    this.#subject = subjectOf(certificate.raw);
    this.#keyId = keyIdOf(certificate.publicKey);
    this.#key = key;
    this.cert = toPem(certificate.raw, 'CERTIFICATE');
    this.fingerprint = fingerprintOf(certificate.raw);
  }

  /** A new one, valid from `nowMs` on. */
  static async make(nowMs: number): Promise<KeyPairPem> {
    const { privateKey, publicKey } = await newKeys();
    const subject = nameOf('Batchmill cluster CA');
    const extensions = [
      // A certificate authority, with none below it.
      extension('2.5.29.19', sequence(der(tags.boolean, Buffer.from([0xff])), der(tags.integer, Buffer.from([0])))),
      extension('2.5.29.15', der(tags.bitString, keyCertSignAndCrlSign)),
      extension('2.5.29.14', der(tags.octetString, keyIdOf(publicKey)), false),
    ];
    const wanted = { subject, publicKey, nowMs, lifeMs: limits.authorityMs, extensions };
    return { key: privatePem(privateKey), cert: issue(wanted, subject, privateKey).cert };
  }

  /** @throws Error when the texts are no certificate and its key */
  static of({ key, cert }: KeyPairPem): Promise<Authority> {
    return Promise.resolve().then(() => {
      const [certificate, own] = [new X509Certificate(cert), createPrivateKey(key)];
      // A key that is not the certificate's would sign what nobody believes.
      if (!certificate.checkPrivateKey(own)) throw new Error('the key is not that of the certificate');
      return new Authority(certificate, own);
    });
  }

  /** Of the coordinator, under all `names` (host names and addresses) and {@link coordinatorName}. */
  async issueServer(names: readonly string[], nowMs: number): Promise<KeyPairPem & { readonly expiresMs: number }> {
    const { privateKey, publicKey } = await newKeys();
    const alternatives = [...new Set([coordinatorName, ...names])].map((name) => {
      const address = addressBytes(name);
      return address ? der(0x87, address) : der(0x82, Buffer.from(name));
    });
    const named = extension('2.5.29.17', sequence(...alternatives), false);
    const lifeMs = limits.serverCertificateMs;
    const { cert, expiresMs } = this.#issue(coordinatorName, serverAuth, { publicKey, nowMs, lifeMs }, [named]);
    return { key: privatePem(privateKey), cert: `${cert}${this.cert}`, expiresMs };
  }

  /**
   * Of a worker node for the key of its request (PEM). Nothing else of the request is believed.
   * @throws BatchError REQUEST_INVALID when it is none, or not signed with its own key
   */
  issueNode(request: string, node: string, nowMs: number, lifeMs: number): IssuedCertificate {
    return this.#issue(node, clientAuth, { publicKey: requestedKey(request), nowMs, lifeMs }, []);
  }

  #issue(
    commonName: string,
    usage: string,
    wanted: Pick<Wanted, 'publicKey' | 'nowMs' | 'lifeMs'>,
    more: readonly Buffer[],
  ): IssuedCertificate {
    const extensions = [
      extension('2.5.29.19', sequence()),
      extension('2.5.29.15', der(tags.bitString, digitalSignature)),
      extension('2.5.29.37', sequence(oid(usage))),
      ...more,
      extension('2.5.29.35', sequence(der(0x80, this.#keyId)), false),
    ];
    return issue({ ...wanted, subject: nameOf(commonName), extensions }, this.#subject, this.#key);
  }
}

/** A new key of a worker node and its request for a certificate, both PEM. */
export async function requestCertificate(node: string): Promise<{ readonly key: string; readonly request: string }> {
  const { privateKey, publicKey } = await newKeys();
  const version = der(tags.integer, Buffer.from([0]));
  const info = sequence(version, nameOf(node), publicDer(publicKey), der(0xa0));
  return { key: privatePem(privateKey), request: toPem(signed(info, privateKey), 'CERTIFICATE REQUEST') };
}

/** When a certificate (PEM, the first of several) ends. */
export function expiresMsOf(cert: string): number {
  return new Date(new X509Certificate(cert).validTo).getTime();
}

function newKeys(): Promise<{ readonly privateKey: KeyObject; readonly publicKey: KeyObject }> {
  return promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
}

function issue(wanted: Wanted, issuer: Buffer, key: KeyObject): IssuedCertificate {
  const { subject, publicKey, nowMs, lifeMs, extensions } = wanted;
  const serial = newSerial();
  // Begins a little earlier: clocks of two machines are never the same. Certificates know seconds.
  const notBefore = new Date(nowMs - limits.certificateSkewMs);
  const expiresMs = Math.floor((nowMs + lifeMs) / 1_000) * 1_000;
  const body = sequence(
    // Version 3.
    der(0xa0, der(tags.integer, Buffer.from([2]))),
    der(tags.integer, serial),
    ecdsaWithSha256,
    issuer,
    sequence(time(notBefore), time(new Date(expiresMs))),
    subject,
    publicDer(publicKey),
    der(0xa3, sequence(...extensions)),
  );
  const cert = toPem(signed(body, key), 'CERTIFICATE');
  return { cert, serial: serial.toString('hex').toUpperCase(), expiresMs };
}

/** With its signature behind it, as certificates and requests have it. */
function signed(body: Buffer, key: KeyObject): Buffer {
  return sequence(body, ecdsaWithSha256, bitString(sign('sha256', body, key)));
}

/** @throws BatchError REQUEST_INVALID */
function requestedKey(pem: string): KeyObject {
  const refuse = (cause?: unknown): BatchError =>
    new BatchError('REQUEST_INVALID', 'wanted a certificate request (PKCS #10, PEM) for an ECDSA key on P-256', {
      cause,
    });
  if (pem.length > limits.certificateRequestBytesMax) throw refuse();
  try {
    const [info, algorithm, signature] = sequenceValues(fromPem(pem, 'CERTIFICATE REQUEST'));
    const publicKey = info && sequenceValues(info.whole)[2];
    if (!publicKey || !signature || !algorithm?.whole.equals(ecdsaWithSha256)) throw refuse();
    const key = createPublicKey({ key: publicKey.whole, format: 'der', type: 'spki' });
    const isOfCurve = key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
    if (!isOfCurve || !verify('sha256', info.whole, key, signature.content.subarray(1))) throw refuse();
    return key;
  } catch (error) {
    throw error instanceof BatchError ? error : refuse(error);
  }
}

function extension(id: string, value: Buffer, isCritical = true): Buffer {
  const critical = isCritical ? [der(tags.boolean, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...critical, der(tags.octetString, value));
}

/** A distinguished name that is a common name alone. */
function nameOf(commonName: string): Buffer {
  return sequence(der(tags.set, sequence(oid('2.5.4.3'), der(tags.utf8, Buffer.from(commonName)))));
}

/** As it stands in a certificate: issuers are compared byte by byte. */
function subjectOf(certificate: Buffer): Buffer {
  const [body] = sequenceValues(certificate);
  const subject = body && sequenceValues(body.whole)[5];
  if (!subject) throw new Error('the certificate has no subject');
  return subject.whole;
}

/** @source RFC 5280, 4.2.1.2: the SHA-1 of the key's bits */
function keyIdOf(publicKey: KeyObject): Buffer {
  const bits = sequenceValues(publicDer(publicKey))[1]?.content.subarray(1) ?? Buffer.alloc(0);
  return createHash('sha1').update(bits).digest();
}

function publicDer(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' });
}

function privatePem(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/** 128 random bits; the first is 0 and the next 1, so that it is positive and always of the same length. */
function newSerial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}
