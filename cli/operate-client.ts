/** What commands for operators ask of the coordinator: an answer of a form that is known. */
import type { z } from 'zod';
import { BatchError } from '../common/core/batch-error.ts';
import type { CommandContext } from './command-context.ts';

export interface Asked<T> {
  readonly path: string;
  readonly reply: z.ZodType<T>;
  readonly method?: 'GET' | 'PUT' | 'POST';
  readonly body?: unknown;
}

/** @throws COORDINATOR_UNREACHABLE, or the coordinator's own error by its code */
export async function ask<T>({ transport }: Pick<CommandContext, 'transport'>, asked: Asked<T>): Promise<T> {
  const { path, reply: schema, method = 'GET', body } = asked;
  const { origin, ask: send } = await transport();
  const parsed = schema.safeParse((await send(method, path, body === undefined ? {} : { body })).value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const found = `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`;
  throw new BatchError(
    'COORDINATOR_UNREACHABLE',
    `${origin} does not answer as a coordinator of this release does: ${found}; run the same release on both sides`,
  );
}

export async function remove({ transport }: Pick<CommandContext, 'transport'>, path: string): Promise<void> {
  await (await transport()).ask('DELETE', path);
}
