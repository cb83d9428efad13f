/** What a cluster has in which nothing is in the clear: NATS by TLS, with a certificate and a password of the coordinators'. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../common/io/clock.ts';
import { Authority, requestCertificate } from '../../common/security/authority.ts';

const password = 'grain and stone';

export interface SecuredNats {
  /** Lines of each server's configuration. */
  readonly more: string;
  /** Of the coordinators. */
  readonly environment: Readonly<Record<string, string>>;
  /** Of a test that looks for itself. */
  readonly login: {
    readonly user: string;
    readonly pass: string;
    readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  };
}

/** Servers that want a certificate of an authority of their own, which is not the cluster's, and a password. */
export async function secureNats(dir: string): Promise<SecuredNats> {
  const own = join(dir, 'nats-tls');
  mkdirSync(own);
  const file = (name: string, text: string): string => {
    const path = join(own, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const now = systemClock.wall();
  const authority = await Authority.of(await Authority.make(now));
  const server = await authority.issueServer(['127.0.0.1', 'localhost'], now);
  const { key, request } = await requestCertificate('mill');
  const { cert } = await authority.issueNode(request, 'mill', now, 3_600_000);
  const ca = file('ca.pem', authority.cert);
  const tls = `cert_file: "${file('server.pem', server.cert)}", key_file: "${file('server.key', server.key)}"`;
  return {
    more:
      `tls { ${tls}, ca_file: "${ca}", verify: true }\n` + `authorization { user: mill, password: "${password}" }\n`,
    environment: {
      BATCHMILL_NATS_CA: ca,
      BATCHMILL_NATS_CERTIFICATE: file('mill.pem', cert),
      BATCHMILL_NATS_KEY: file('mill.key', key),
      BATCHMILL_NATS_USER: 'mill',
      BATCHMILL_NATS_PASSWORD_FILE: file('password', `${password}\n`),
    },
    login: { user: 'mill', pass: password, tls: { ca: authority.cert, cert, key } },
  };
}
