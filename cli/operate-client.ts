/** What commands for operators ask of the coordinator: JSON there and back. */
import type { z } from 'zod';
import { BatchError } from '../common/core/batch-error.ts';
import type { CommandContext } from './command-context.ts';

export interface Asked<T> {
  readonly path: string;
  readonly reply: z.ZodType<T>;
  readonly method?: 'GET' | 'PUT' | 'POST';
  readonly body?: unknown;
}

type Reach = Pick<CommandContext, 'transport'>;

/** @throws COORDINATOR_UNREACHABLE, or the coordinator's own error by its code */
export async function ask<T>({ transport }: Reach, asked: Asked<T>): Promise<T> {
  const { path, reply: schema, method = 'GET', body } = asked;
  const api = await transport();
  const { value } = await api.ask(method, path, body === undefined ? {} : { body });
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const found = `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`;
  throw new BatchError(
    'COORDINATOR_UNREACHABLE',
    `${api.origin}${path} does not answer as a coordinator of this release does: ${found}; run the same release on both sides`,
  );
}

export async function remove({ transport }: Reach, path: string): Promise<void> {
  await (await transport()).ask('DELETE', path);
}
