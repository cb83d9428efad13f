/** `coordinator handover`: a standby leads, because somebody wants it so. */
import * as z from 'zod';
import type { CommandContext } from '../command-context.ts';
import { ask } from '../operate-client.ts';

const reply: z.ZodType<{ readonly to: string }> = z.object({ to: z.string() });

export async function handOverCommand(context: CommandContext): Promise<number> {
  const given = await ask(context, { path: '/v1/coordinator/handover', method: 'POST', body: {}, reply });
  context.output.item(given, [{ title: 'leads next', value: ({ to }) => to }]);
  return 0;
}
