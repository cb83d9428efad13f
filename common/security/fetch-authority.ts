/**
 * The certificate of a cluster's authority, from the coordinator itself, for those who were told its fingerprint. Nothing
 * that the peer says is believed before its digest is the one that was told.
 */
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { formatAddress, type Address } from '../config/address.ts';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import { errnoOf, reasonOf } from '../io/errno.ts';
import { fingerprintOf } from './fingerprint.ts';
import { coordinatorName } from './server-identity.ts';

/** PEM. `protocol`: what is spoken at the address. @throws BatchError COORDINATOR_UNREACHABLE, SERVER_UNTRUSTED */
export async function fetchAuthority(
  address: Address,
  fingerprint: string,
  protocol: 'h2' | 'http/1.1',
): Promise<string> {
  const where = formatAddress(address);
  const chain = await peerChain(address, protocol);
  const authority = chain.find((certificate) => fingerprintOf(certificate.raw) === fingerprint);
  if (authority) return pemOf(authority.raw);
  const found = chain.at(-1);
  const shown = found ? `that of ${fingerprintOf(found.raw)}` : 'no certificate';
  throw new BatchError(
    'SERVER_UNTRUSTED',
    `${where} shows ${shown}, and wanted was a coordinator of the authority ${fingerprint}; ` +
      'is it the right address, and the fingerprint that `coordinator start` prints?',
  );
}

function peerChain(address: Address, protocol: string): Promise<readonly DetailedPeerCertificate[]> {
  const where = formatAddress(address);
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({
      ...address,
      servername: coordinatorName,
      ALPNProtocols: [protocol],
      // Only to look: the digest decides, and nothing is sent.
      rejectUnauthorized: false,
    });
    const unreachable = (cause: unknown, reason: string): void => {
      socket.destroy();
      reject(
        new BatchError('COORDINATOR_UNREACHABLE', `no answer from a coordinator at ${where}: ${reason}`, { cause }),
      );
    };
    socket.setTimeout(limits.handshakeMsMax, () => unreachable(null, 'it does not speak TLS, or is too slow'));
    socket.once('error', (error) => {
      const isPlain = errnoOf(error) === 'ERR_SSL_WRONG_VERSION_NUMBER' || errnoOf(error) === 'EPROTO';
      unreachable(error, isPlain ? 'it does not speak TLS; was it started with --insecure?' : reasonOf(error));
    });
    socket.once('end', () => unreachable(null, 'it ended the connection; was it started with --insecure?'));
    socket.once('secureConnect', () => {
      const chain = chainOf(socket.getPeerCertificate(true));
      socket.destroy();
      resolve(chain);
    });
  });
}

function chainOf(leaf: DetailedPeerCertificate): readonly DetailedPeerCertificate[] {
  const chain: DetailedPeerCertificate[] = [];
  // The last one is its own issuer.
  for (let next: DetailedPeerCertificate | undefined = leaf; next?.raw && !chain.includes(next);) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}

function pemOf(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
