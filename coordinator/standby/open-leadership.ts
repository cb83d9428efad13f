/** Joins a coordinator to the others of its cluster. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Clock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import type { Log } from '../../common/io/log.ts';
import { instancePath } from '../registry/registry-desk.ts';
import type { NatsStream } from '../journal/stream/nats-stream.ts';
import { readOwnText } from '../state-dir.ts';
import { Leadership, stateMark, textOfCard, type LeaderCard } from './leadership.ts';

/** What whoever starts a standby has to say and to hear. */
export interface StandbyHooks {
  /** Ends the waiting. */
  readonly signal: AbortSignal;
  /** It waits; `leader`: for whom, null while nobody leads. */
  readonly onWaiting: (leader: LeaderCard | null) => void;
}

export interface OpenLeadershipOptions extends StandbyHooks {
  readonly stream: NatsStream;
  /** Absolute; shared with the others. */
  readonly stateDir: string;
  readonly listen: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** @throws JOURNAL_STREAM_UNREACHABLE, STATE_UNWRITABLE */
export async function openLeadership(options: OpenLeadershipOptions): Promise<Leadership> {
  const { stream, stateDir, listen, clock, log, signal, onWaiting } = options;
  const state = stateMark(await readOwnText(stateDir, instancePath(stateDir)));
  const self: LeaderCard = { id: randomUUID(), host: hostname(), pid: process.pid, listen, state };
  const election = await stream.election(textOfCard(self), delay, clock);
  return new Leadership({ election, self, stateDir, delay, log, onWaiting, signal });
}
