/** How coordinators of a cluster know each other. */
import { createHash } from 'node:crypto';
import * as z from 'zod';

/** How a coordinator is known to the others of its cluster. */
export interface LeaderCard {
  /** Of this process alone. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** As it was told to listen. */
  readonly listen: string;
  /** Digest of what makes a state directory this one and no other. */
  readonly state: string;
}

const cardSchema: z.ZodType<LeaderCard> = z.object({
  id: z.string(),
  host: z.string(),
  pid: z.number(),
  listen: z.string(),
  state: z.string(),
});

/** What a card says of a state directory: nobody can tell from it what stands there. */
export function stateMark(instance: string): string {
  return createHash('sha256').update(instance).digest('hex').slice(0, 32);
}

/** For people. */
export function nameOf({ host, pid, listen }: LeaderCard): string {
  return `the coordinator at ${listen} (process ${pid} on ${host})`;
}

export function textOfCard(card: LeaderCard): string {
  return JSON.stringify(card);
}

/** One that is not understood is of another release: somebody leads, whoever it is. */
export function cardOf(text: string): LeaderCard {
  const unknown = { id: text, host: 'another machine', pid: 0, listen: 'an unknown address', state: '' };
  try {
    return cardSchema.safeParse(JSON.parse(text)).data ?? unknown;
  } catch {
    return unknown;
  }
}
