/**
 * The part of a coordinator that is one of several: waits for its turn to lead, watches that it still does, and lets another one have it.
 *
 * States: waiting → leading → over. Who is over begins again as a new process would; the journal's stream keeps whoever has not noticed
 * yet from doing harm.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import type { Log } from '../../common/io/log.ts';
import type { Election } from '../../common/ports/election.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { PeerBus } from '../../common/ports/peer-bus.ts';
import { guardedFileSystem } from './guarded-file-system.ts';
import { cardOf, nameOf, type LeaderCard } from './leader-card.ts';
import { answerAsStandby, requireSeen, standbys, type SeenPlaces } from './peers.ts';

export interface LeadershipOptions {
  readonly election: Election;
  readonly self: LeaderCard;
  /** Absolute; that `self.state` is of. */
  readonly stateDir: string;
  readonly delay: Delay;
  readonly log: Log;
  /** It waits; `leader`: for whom, null while nobody leads. */
  readonly onWaiting: (leader: LeaderCard | null) => void;
  /** Another one is to lead first, if there is one. */
  readonly isPatient: boolean;
  readonly bus: PeerBus;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  #isLeading = false;
  /** Why it leads no more. */
  #lost: BatchError | null = null;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#over.signal]);
  }

  /** Resolves when this process is to lead. @throws STANDBY_STORAGE, NOT_LEADING when it was told to wait no more */
  async won(): Promise<void> {
    const { election, onWaiting, log, isPatient, bus, self } = this.#options;
    const leader = await this.leader();
    if (leader) this.#requireStorage(leader);
    onWaiting(leader);
    if (isPatient && leader === null) await this.#someoneLeads();
    const endAnswers = answerAsStandby(bus, self);
    const hasWon = await election.won(this.#signal).finally(endAnswers);
    if (!hasWon) throw new BatchError('NOT_LEADING', 'this coordinator stood by until it was ended');
    this.#isLeading = true;
    log.info('this coordinator leads now', { before: leader && nameOf(leader) });
  }

  /** For the files of jobs, which others have had and will have. */
  disk(
    fileSystem: FileSystem,
    localDir: string,
  ): { readonly fileSystem: FileSystem; readonly isShared: true; readonly cluster: string } {
    const { election, delay, self } = this.#options;
    const silentMs = (): number => (this.#isLeading ? election.silentMs() : 0);
    return {
      fileSystem: guardedFileSystem(fileSystem, { localDir, silentMs, delay, signal: this.#signal }),
      isShared: true,
      cluster: self.state,
    };
  }

  /** Resolves when this process may lead no more, with the reason; never before {@link won}, and with null after {@link resign}. */
  async lost(): Promise<BatchError | null> {
    const { election } = this.#options;
    const held = election.held(this.#signal).then((by) => by !== null && replaced(cardOf(by)));
    const silent = this.#silent().then((ms) => ms !== null && unheard(ms));
    const reason = await Promise.race([held, silent]);
    this.#lost = reason === false ? null : reason;
    return this.#lost;
  }

  /** @throws NOT_LEADING when the lease may have ended meanwhile, and what {@link lost} has given */
  requireLease(): void {
    if (this.#lost) throw this.#lost;
    const ms = this.#options.election.silentMs();
    if (ms > limits.leaderSilentMs) throw unheard(ms);
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

  /** @throws NO_STANDBY */
  async successor(): Promise<string> {
    const [first] = await standbys(this.#options.bus);
    if (first) return nameOf(first);
    throw new BatchError('NO_STANDBY', 'no other coordinator stands by; start one with --standby, then hand over');
  }

  /** @throws STANDBY_STORAGE when one that stands by could not go on there */
  async requireSeen(places: SeenPlaces): Promise<void> {
    await requireSeen(this.#options.bus, places);
  }

  /** Or nobody does for as long as a lease lasts. */
  async #someoneLeads(): Promise<void> {
    for (let waitedMs = 0; waitedMs < limits.leaderLeaseMs; waitedMs += limits.leaderTryMs) {
      await this.#options.delay(limits.leaderTryMs, this.#signal);
      if (this.#signal.aborted || (await this.leader()) !== null) return;
    }
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

function replaced(leader: LeaderCard): BatchError {
  return new BatchError('JOURNAL_FENCED', `${nameOf(leader)} leads now, so that this one does not any more`);
}

function unheard(ms: number): BatchError {
  return new BatchError(
    'NOT_LEADING',
    `the lease to lead could not be renewed for ${Math.round(ms / 1_000)} s, and another coordinator may lead; this one stands by until it knows`,
  );
}
