/**
 * The part of a coordinator that is one of several: waits for its turn to lead, watches that it still does, and lets another one have it.
 *
 * States: waiting → leading → over. Who is over begins again as a new process would; the journal's stream keeps whoever has not noticed
 * yet from doing harm.
 */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import type { Log } from '../../common/io/log.ts';
import type { Election } from '../../common/ports/election.ts';

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

export interface LeadershipOptions {
  readonly election: Election;
  readonly self: LeaderCard;
  /** Absolute; that `self.state` is of. */
  readonly stateDir: string;
  readonly delay: Delay;
  readonly log: Log;
  /** It waits; `leader`: for whom, null while nobody leads. */
  readonly onWaiting: (leader: LeaderCard | null) => void;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#over.signal]);
  }

  /** Resolves when this process is to lead. @throws STANDBY_STORAGE, NOT_LEADING when it was told to wait no more */
  async won(): Promise<void> {
    const { election, onWaiting, log } = this.#options;
    const leader = await this.leader();
    if (leader) this.#requireStorage(leader);
    onWaiting(leader);
    if (!(await election.won(this.#signal)))
      throw new BatchError('NOT_LEADING', 'this coordinator stood by until it was ended');
    log.info('this coordinator leads now', { before: leader && nameOf(leader) });
  }

  /** Resolves when this process may lead no more, with the reason; never before {@link won}, and with null after {@link resign}. */
  async lost(): Promise<BatchError | null> {
    const { election } = this.#options;
    const held = election.held(this.#signal).then((by) => by !== null && replaced(cardOf(by)));
    const silent = this.#silent().then((ms) => ms !== null && unheard(ms));
    const reason = await Promise.race([held, silent]);
    return reason === false ? null : reason;
  }

  /** Null: nobody, or nobody knows. */
  async leader(): Promise<LeaderCard | null> {
    const text = await this.#options.election.leader();
    return text === null ? null : cardOf(text);
  }

  /** Another one may lead. */
  async resign(): Promise<void> {
    this.#over.abort();
    await this.#options.election.resign();
  }

  /** With the milliseconds for which the lease could not be renewed, once they are too many; null at the end. */
  async #silent(): Promise<number | null> {
    const { election, delay } = this.#options;
    for (;;) {
      await delay(limits.leaderTryMs, this.#signal);
      if (this.#signal.aborted) return null;
      if (election.silentMs() > limits.leaderSilentMs) return election.silentMs();
    }
  }

  /** It would lead over files that are not those of the jobs. */
  #requireStorage(leader: LeaderCard): void {
    const { self, stateDir } = this.#options;
    if (leader.state === self.state) return;
    throw new BatchError(
      'STANDBY_STORAGE',
      `${stateDir} is not the state directory of ${nameOf(leader)}, which leads: a standby reads the files of its jobs from there. ` +
        'Give both the same folder on storage that both have, each with a --local-dir of its own',
    );
  }
}

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
function cardOf(text: string): LeaderCard {
  const unknown = { id: text, host: 'another machine', pid: 0, listen: 'an unknown address', state: '' };
  try {
    return cardSchema.safeParse(JSON.parse(text)).data ?? unknown;
  } catch {
    return unknown;
  }
}

function replaced(leader: LeaderCard): BatchError {
  return new BatchError('JOURNAL_FENCED', `${nameOf(leader)} leads now, so that this one does not any more`);
}

function unheard(ms: number): BatchError {
  return new BatchError(
    'NOT_LEADING',
    `the lease to lead could not be renewed for ${Math.round(ms / 1_000)} s, and another coordinator may lead; this one stands by until it knows`,
  );
}
