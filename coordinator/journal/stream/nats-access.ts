/** Connects to NATS as the settings say, and finds out whether its servers sync what they acknowledge. */
import { readFile } from 'node:fs/promises';
import {
  connect,
  credsAuthenticator,
  nkeyAuthenticator,
  type NatsConnection,
  type PermissionViolationError,
} from '@nats-io/transport-node';
import * as z from 'zod';
import type { NatsLogin, NatsSettings } from '../../../common/config/nats-settings.ts';
import { BatchError } from '../../../common/core/batch-error.ts';
import { limits } from '../../../common/core/limits.ts';
import { reasonOf } from '../../../common/io/errno.ts';

type ConnectionOptions = NonNullable<Parameters<typeof connect>[0]>;

/** @throws JOURNAL_STREAM_UNREACHABLE, JOURNAL_STREAM_UNFIT, CONFIG_INVALID for a file that cannot be read */
export async function connectNats(servers: readonly string[], { login, tls }: NatsSettings): Promise<NatsConnection> {
  const who = login === null ? {} : await loginOptions(login);
  const files = tls && [tls.caFile, tls.certificate?.certFile, tls.certificate?.keyFile];
  for (const file of files ?? []) if (file) await contentOf(file);
  const trust = tls && {
    ...(tls.caFile === null ? {} : { caFile: tls.caFile }),
    ...tls.certificate,
  };
  try {
    return await connect({
      ...{ servers: [...servers], maxReconnectAttempts: -1, timeout: limits.journalStreamTryMs, ...who },
      ...(trust ? { tls: trust } : {}),
    });
  } catch (error) {
    const name = error instanceof Error ? error.name : '';
    if (!/Authorization|Authentication/.test(name) && !/authorization|authentication/i.test(reasonOf(error)))
      throw error;
    const message =
      `NATS at ${servers.join(', ')} refused who this is: ${reasonOf(error)}. BATCHMILL_NATS_CREDENTIALS, BATCHMILL_NATS_NKEY, ` +
      'BATCHMILL_NATS_TOKEN_FILE, or BATCHMILL_NATS_USER with BATCHMILL_NATS_PASSWORD_FILE say it';
    throw new BatchError('JOURNAL_STREAM_UNFIT', message, { cause: error });
  }
}

async function loginOptions(login: NatsLogin): Promise<ConnectionOptions> {
  const bytes = await contentOf(login.file);
  const text = bytes.toString('utf8').trim();
  switch (login.kind) {
    case 'credentials':
      return { authenticator: credsAuthenticator(bytes) };
    case 'nkey':
      return { authenticator: nkeyAuthenticator(Buffer.from(text)) };
    case 'token':
      return { token: text };
    case 'user':
      return { user: login.user, pass: text };
  }
}

async function contentOf(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new BatchError('CONFIG_INVALID', `${file}, for NATS, cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** Of what the servers refuse to this program's user: a sentence that says what, and what to do. */
export function whatToAllow({ operation, subject }: PermissionViolationError): string {
  const kind = subjectKind(subject);
  // A reply goes to an inbox of whoever asked.
  const how = kind.startsWith('_INBOX.') ? ' in reply (allow_responses: true)' : '';
  const [may, again] = operation === 'publish' ? ['publish to', ''] : ['subscribe to', ', then start this one again'];
  return (
    `the user of this coordinator may not ${may} ${kind} on NATS; allow that${how} as deploy/nats/accounts.conf does, ` +
    `and reload the servers${again}`
  );
}

/** Subjects that one line of permissions is for: without the names of jobs, nodes and questions. */
function subjectKind(subject: string): string {
  if (subject.startsWith('_INBOX.')) return '_INBOX.>';
  const parts = subject.split('.');
  return parts[0] === 'batchmill' && parts.length > 3 ? `${parts.slice(0, 3).join('.')}.>` : subject;
}

/** `sync_always` of a server's JetStream, 2.10 and later. @source nats-server: JetStreamConfig, monitoring endpoint /varz */
const variables = z.object({
  server_name: z.string().optional(),
  jetstream: z.object({ config: z.object({ sync_always: z.boolean().optional() }).nullish() }).nullish(),
});

/** What is wrong with how servers sync, one sentence each; null: it could not be looked up. */
export async function syncProblems(monitoring: readonly string[]): Promise<readonly string[] | null> {
  if (monitoring.length === 0) return null;
  const found: string[] = [];
  for (const url of monitoring) {
    const problem = await problemAt(url);
    if (problem === null) return null;
    if (problem !== '') found.push(problem);
  }
  return found;
}

/** Empty: it syncs before it acknowledges. Null: it does not say. */
async function problemAt(url: string): Promise<string | null> {
  try {
    const reply = await fetch(`${url}/varz`, { signal: AbortSignal.timeout(limits.journalStreamTryMs) });
    const { jetstream, server_name: name } = variables.parse(await reply.json());
    if (!jetstream?.config) return `the server ${name ?? ''} at ${url} has no JetStream`;
    return jetstream.config.sync_always
      ? ''
      : `the server ${name ?? ''} at ${url} acknowledges before it syncs; set sync_interval: always in its jetstream block`;
  } catch {
    // The journal needs the servers, not their monitoring.
    return null;
  }
}
