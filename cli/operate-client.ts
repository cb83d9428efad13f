/** What commands for operators ask of the coordinator: JSON there and back. */
import type { z } from 'zod';
import { formatAddress } from '../common/config/address.ts';
import { serverSetting } from '../common/config/process-settings.ts';
import { BatchError } from '../common/core/batch-error.ts';
import { send } from './client.ts';
import type { CliHost } from './command-context.ts';

export interface Asked<T> {
  readonly path: string;
  readonly reply: z.ZodType<T>;
  readonly method?: 'GET' | 'PUT' | 'POST';
  readonly body?: unknown;
}

/** @throws COORDINATOR_UNREACHABLE, or the coordinator's own error by its code */
export async function ask<T>(host: CliHost, server: string | undefined, asked: Asked<T>): Promise<T> {
  const { path, reply: schema, method = 'GET', body } = asked;
  const url = `${originOf(host, server)}${path}`;
  const json =
    body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const reply = await send(url, { method, ...json });
  const parsed = schema.safeParse(await reply.json().catch(() => null));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const found = `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`;
  throw new BatchError(
    'COORDINATOR_UNREACHABLE',
    `${url} does not answer as a coordinator of this release does: ${found}; run the same release on both sides`,
  );
}

export async function remove(host: CliHost, server: string | undefined, path: string): Promise<void> {
  await send(`${originOf(host, server)}${path}`, { method: 'DELETE' });
}

function originOf(host: CliHost, server: string | undefined): string {
  return `http://${formatAddress(serverSetting(server, host.environment))}`;
}
