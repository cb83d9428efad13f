/**
 * The cluster's own certificate authority: it issues the coordinator's server certificate and one certificate to each
 * worker node. Server certificates may only serve and node certificates may only call, so that no node can pass for the
 * coordinator. Where keys are kept is for others.
 */
// Must be loaded before x509, whose dependency injection looks for it.
import 'reflect-metadata';
import { randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import { fingerprintOf } from './fingerprint.ts';
import { coordinatorName } from './server-identity.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

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

x509.cryptoProvider.set(webcrypto);

/** The same in every certificate, and made once. */
const leafExtensions = [
  new x509.BasicConstraintsExtension(false, undefined, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
];
const mayServe = new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth], true);
const mayCall = new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth], true);

export class Authority {
  /** PEM. */
  readonly cert: string;
  /** `sha256:` and the hexadecimal digest of the certificate's DER, as join lines have it. */
  readonly fingerprint: string;
  readonly #certificate: x509.X509Certificate;
  readonly #key: webcrypto.CryptoKey;
  /** What all that it issues has of it: taking it apart anew costs more than the signature. */
  readonly #issuer: { readonly name: x509.Name; readonly keyId: x509.AuthorityKeyIdentifierExtension };

  private constructor(
    certificate: x509.X509Certificate,
    key: webcrypto.CryptoKey,
    keyId: x509.AuthorityKeyIdentifierExtension,
  ) {
    this.#certificate = certificate;
    this.#key = key;
    this.#issuer = { name: certificate.subjectName, keyId };
    this.cert = `${certificate.toString('pem')}\n`;
    this.fingerprint = fingerprintOf(new Uint8Array(certificate.rawData));
  }

  /** A new one, valid from `nowMs` on. */
  static async make(nowMs: number): Promise<KeyPairPem> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: newSerial(),
      name: [{ CN: ['Batchmill cluster CA'] }],
      ...validity(nowMs, limits.authorityMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return { key: await privatePem(keys.privateKey), cert: `${certificate.toString('pem')}\n` };
  }

  /** @throws Error when the texts are no certificate and its key */
  static async of({ key, cert }: KeyPairPem): Promise<Authority> {
    const certificate = new x509.X509Certificate(cert);
    const der = x509.PemConverter.decodeFirst(key);
    const usable = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
    const keyId = await x509.AuthorityKeyIdentifierExtension.create(certificate.publicKey);
    const authority = new Authority(certificate, usable, keyId);
    await authority.#provesItsKey();
    return authority;
  }

  /** Of the coordinator, under all `names` (host names and addresses) and {@link coordinatorName}. */
  async issueServer(names: readonly string[], nowMs: number): Promise<KeyPairPem & { readonly expiresMs: number }> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const { cert, expiresMs } = await this.#issue({
      publicKey: keys.publicKey,
      commonName: coordinatorName,
      usage: mayServe,
      alternativeNames: [...new Set([coordinatorName, ...names])],
      lifeMs: limits.serverCertificateMs,
      nowMs,
    });
    return { key: await privatePem(keys.privateKey), cert: `${cert}${this.cert}`, expiresMs };
  }

  /**
   * Of a worker node for the key of its request (PEM). Nothing else of the request is believed.
   * @throws BatchError REQUEST_INVALID when it is none, or not signed with its own key
   */
  async issueNode(request: string, node: string, nowMs: number, lifeMs: number): Promise<IssuedCertificate> {
    const publicKey = await requestedKey(request);
    const { cert, serial, expiresMs } = await this.#issue({
      publicKey,
      commonName: node,
      usage: mayCall,
      alternativeNames: [],
      lifeMs,
      nowMs,
    });
    return { cert, serial, expiresMs };
  }

  async #issue(wanted: {
    readonly publicKey: x509.PublicKeyType;
    readonly commonName: string;
    readonly usage: x509.Extension;
    readonly alternativeNames: readonly string[];
    readonly lifeMs: number;
    readonly nowMs: number;
  }): Promise<IssuedCertificate> {
    const { publicKey, commonName, usage, alternativeNames, lifeMs, nowMs } = wanted;
    const serial = newSerial();
    const { notBefore, notAfter } = validity(nowMs, lifeMs);
    const names = alternativeNames.map(
      (value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }) as x509.JsonGeneralName,
    );
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial,
      subject: [{ CN: [commonName] }],
      issuer: this.#issuer.name,
      notBefore,
      notAfter,
      signingAlgorithm: algorithm,
      signingKey: this.#key,
      publicKey,
      extensions: [
        ...leafExtensions,
        usage,
        ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
        this.#issuer.keyId,
      ],
    });
    return { cert: `${certificate.toString('pem')}\n`, serial: serial.toUpperCase(), expiresMs: notAfter.getTime() };
  }

  /** A key that is not the certificate's would sign what nobody believes. */
  async #provesItsKey(): Promise<void> {
    const probe = new Uint8Array(32);
    const signature = await webcrypto.subtle.sign(algorithm, this.#key, probe);
    const publicKey = await this.#certificate.publicKey.export(algorithm, ['verify']);
    if (!(await webcrypto.subtle.verify(algorithm, publicKey, signature, probe))) {
      throw new Error('the key is not that of the certificate');
    }
  }
}

/** A new key of a worker node and its request for a certificate, both PEM. */
export async function requestCertificate(node: string): Promise<{ readonly key: string; readonly request: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [node] }],
    keys,
    signingAlgorithm: algorithm,
  });
  return { key: await privatePem(keys.privateKey), request: request.toString('pem') };
}

/** When a certificate (PEM, the first of several) ends. */
export function expiresMsOf(cert: string): number {
  return lifeOf(cert).endsMs;
}

/** When a certificate (PEM, the first of several) begins and ends. */
export function lifeOf(cert: string): { readonly beginsMs: number; readonly endsMs: number } {
  const { validFrom, validTo } = new X509Certificate(cert);
  return { beginsMs: new Date(validFrom).getTime(), endsMs: new Date(validTo).getTime() };
}

async function requestedKey(pem: string): Promise<x509.PublicKey> {
  const refuse = (cause?: unknown): BatchError =>
    new BatchError('REQUEST_INVALID', 'wanted a certificate request (PKCS #10, PEM) for an ECDSA key on P-256', {
      cause,
    });
  if (pem.length > limits.certificateRequestBytesMax) throw refuse();
  try {
    const request = new x509.Pkcs10CertificateRequest(x509.PemConverter.decodeFirst(pem));
    const { name, namedCurve } = request.publicKey.algorithm as Partial<typeof algorithm>;
    const isOurs = name === algorithm.name && namedCurve === algorithm.namedCurve;
    if (!isOurs || !(await request.verify())) throw refuse();
    return request.publicKey;
  } catch (error) {
    throw error instanceof BatchError ? error : refuse(error);
  }
}

/** Begins a little earlier: clocks of two machines are never the same. */
function validity(nowMs: number, lifeMs: number): { readonly notBefore: Date; readonly notAfter: Date } {
  return { notBefore: new Date(nowMs - limits.certificateSkewMs), notAfter: new Date(nowMs + lifeMs) };
}

/** 128 random bits; the first is 0 and the next 1, so that it is positive and always of the same length. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}
