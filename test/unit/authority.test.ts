import { X509Certificate } from 'node:crypto';
import { connect, createServer } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { Authority, expiresMsOf, requestCertificate } from '../../common/security/authority.ts';
import { fingerprintOfPem } from '../../common/security/fingerprint.ts';
import { coordinatorName } from '../../common/security/server-identity.ts';
import { failing } from '../helpers/failing.ts';

const now = Date.UTC(2030, 0, 1);
const made = await Authority.make(now);
const authority = await Authority.of(made);

describe('the authority', () => {
  test('is itself again from its texts, and by its fingerprint', async () => {
    const again = await Authority.of(made);
    expect([again.cert, again.fingerprint]).toEqual([authority.cert, authority.fingerprint]);
    expect(authority.fingerprint).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(fingerprintOfPem(authority.cert)).toBe(authority.fingerprint);
    const certificate = new X509Certificate(authority.cert);
    expect([certificate.ca, certificate.checkIssued(certificate)]).toEqual([true, true]);
    expect(`sha256:${certificate.fingerprint256.replaceAll(':', '').toLowerCase()}`).toBe(authority.fingerprint);
  });

  test('does not take another one’s key for its own', async () => {
    const other = await Authority.make(now);
    await expect(Authority.of({ key: other.key, cert: made.cert })).rejects.toThrow(/not that of the certificate/);
    await expect(Authority.of({ key: 'no key', cert: made.cert })).rejects.toThrow();
  });
});

describe('certificates of the server', () => {
  test('name the coordinator and every address, for so long', async () => {
    const { cert, expiresMs } = await authority.issueServer(['localhost', '127.0.0.1', '::1', 'alpha.example'], now);
    const leaf = new X509Certificate(cert);
    expect(leaf.checkHost(coordinatorName)).toBe(coordinatorName);
    expect([leaf.checkHost('alpha.example'), leaf.checkIP('127.0.0.1'), leaf.checkHost('beta.example')]).toEqual([
      'alpha.example',
      '127.0.0.1',
      undefined,
    ]);
    expect(leaf.checkIssued(new X509Certificate(authority.cert))).toBe(true);
    expect([expiresMs, expiresMsOf(cert)]).toEqual(Array(2).fill(now + limits.serverCertificateMs));
    expect(leaf.ca).toBe(false);
    // Whoever pins the authority finds it in the chain.
    expect(cert.endsWith(authority.cert)).toBe(true);
  });
});

describe('certificates of worker nodes', () => {
  test('are for the name that was asked of us, not the one in the request, and for its key', async () => {
    const { request } = await requestCertificate('mallory');
    const { cert, serial, expiresMs } = authority.issueNode(request, 'alpha', now, 60_000);
    const leaf = new X509Certificate(cert);
    expect([leaf.subject, leaf.serialNumber, expiresMs]).toEqual(['CN=alpha', serial, now + 60_000]);
    expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    const serials = Array.from({ length: 50 }, () => authority.issueNode(request, 'a', now, 1));
    expect(new Set(serials.map((one) => one.serial)).size).toBe(50);
  });

  test.each([
    ['nothing', ''],
    ['a text', '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----'],
    ['a certificate', made.cert],
    ['too long a text', 'x'.repeat(limits.certificateRequestBytesMax + 1)],
  ])('%s is no request', (_what, request) => {
    expect(() => authority.issueNode(request, 'alpha', now, 1)).toThrow(
      failing('REQUEST_INVALID', 'wanted a certificate request'),
    );
  });

  test('a request that is not signed with its own key is refused', async () => {
    const { request } = await requestCertificate('alpha');
    const der = Buffer.from(request.replaceAll(/-----[A-Z ]+-----|\s/g, ''), 'base64');
    const last = der.length - 5;
    der[last] = (der[last] ?? 0) ^ 1;
    const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----`;
    expect(() => authority.issueNode(forged, 'alpha', now, 1)).toThrow(failing('REQUEST_INVALID', 'wanted'));
  });

  test('cannot serve: a node cannot pass for the coordinator', async () => {
    const live = await Authority.of(await Authority.make(Date.UTC(2020, 0, 1)));
    const present = new Date().getTime();
    const { key, request } = await requestCertificate(coordinatorName);
    const { cert } = live.issueNode(request, coordinatorName, present, 60_000);
    const server = await live.issueServer([], present);
    expect(await dial({ key: server.key, cert: server.cert }, live.cert)).toBe('connected');
    expect(await dial({ key, cert }, live.cert)).toBe('INVALID_PURPOSE');
  });
});

/** What a client that knows the authority says to a server with this certificate. */
function dial(own: { readonly key: string; readonly cert: string }, ca: string): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer(own, (socket) => socket.on('error', () => undefined));
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { readonly port: number };
      const checkServerIdentity = (): undefined => undefined;
      const socket = connect({ host: '127.0.0.1', port, ca, servername: coordinatorName, checkServerIdentity });
      const end = (what: string): void => {
        socket.destroy();
        server.close(() => resolve(what));
      };
      socket.once('secureConnect', () => end('connected'));
      socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    });
  });
}
