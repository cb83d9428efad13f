/**
 * How a coordinator shows NATS who it is, and whom it trusts there. Everything secret is named by a file, so that nothing of it stands on
 * a command line or in an environment.
 */
import { resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { Environment } from './process-settings.ts';

export interface NatsSettings {
  /** Who it is; null: nobody in particular. */
  readonly login: NatsLogin | null;
  /** Files in PEM; null: TLS only where the servers ask for it, and then the authorities of the system. */
  readonly tls: NatsTls | null;
  /** `http://host:8222` of the servers' monitoring, where it is looked up how they sync. */
  readonly monitoring: readonly string[];
  /** Servers and streams that may lose records are taken all the same. */
  readonly isLossyAccepted: boolean;
}

/** Files, absolute. */
export type NatsLogin =
  | { readonly kind: 'credentials'; readonly file: string }
  | { readonly kind: 'nkey'; readonly file: string }
  | { readonly kind: 'token'; readonly file: string }
  | { readonly kind: 'user'; readonly user: string; readonly file: string };

export interface NatsTls {
  readonly caFile: string | null;
  /** Of this program, with its key; null: none is shown. */
  readonly certificate: { readonly certFile: string; readonly keyFile: string } | null;
}

export const openNats: NatsSettings = { login: null, tls: null, monitoring: [], isLossyAccepted: false };

const loginVariables = {
  credentials: 'BATCHMILL_NATS_CREDENTIALS',
  nkey: 'BATCHMILL_NATS_NKEY',
  token: 'BATCHMILL_NATS_TOKEN_FILE',
  user: 'BATCHMILL_NATS_USER',
} as const;

/** @throws USAGE for variables that contradict each other, or of which one is missing */
export function natsSettings(environment: Environment, isLossyAccepted: boolean): NatsSettings {
  const monitoring = (environment['BATCHMILL_NATS_MONITORING'] ?? '').split(',').filter((one) => one.trim() !== '');
  for (const url of monitoring) requireHttp(url.trim());
  return {
    login: loginOf(environment),
    tls: tlsOf(environment),
    monitoring: monitoring.map((url) => url.trim().replace(/\/$/, '')),
    isLossyAccepted,
  };
}

function loginOf(environment: Environment): NatsLogin | null {
  const given = Object.entries(loginVariables).filter(([, variable]) => environment[variable]);
  const [first, second] = given;
  if (!first) return null;
  if (second) throw new BatchError('USAGE', `${first[1]} and ${second[1]} are both set; one says who this is`);
  const [kind, variable] = first as [NatsLogin['kind'], string];
  const value = environment[variable] ?? '';
  if (kind !== 'user') return { kind, file: resolve(value) };
  const file = environment['BATCHMILL_NATS_PASSWORD_FILE'];
  if (file) return { kind, user: value, file: resolve(file) };
  throw new BatchError('USAGE', `${variable} is set without BATCHMILL_NATS_PASSWORD_FILE, the file with the password`);
}

function tlsOf(environment: Environment): NatsTls | null {
  const { BATCHMILL_NATS_CA: ca, BATCHMILL_NATS_CERTIFICATE: cert, BATCHMILL_NATS_KEY: key } = environment;
  if (!ca && !cert && !key) return null;
  if (!cert !== !key) {
    throw new BatchError('USAGE', 'BATCHMILL_NATS_CERTIFICATE and BATCHMILL_NATS_KEY go together; only one is set');
  }
  const certificate = cert && key ? { certFile: resolve(cert), keyFile: resolve(key) } : null;
  return { caFile: ca ? resolve(ca) : null, certificate };
}

function requireHttp(url: string): void {
  if (/^https?:\/\/[^/\s]+\/?$/.test(url)) return;
  const message = `BATCHMILL_NATS_MONITORING: wanted http://HOST:8222[,…], found ${JSON.stringify(url)}`;
  throw new BatchError('USAGE', message);
}
