/** Requests where several coordinators may lead: to the one that answered last, and on to the next when it does not. */
import { formatAddress, type Address } from '../common/config/address.ts';
import { BatchError } from '../common/core/batch-error.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Delay } from '../common/io/delay.ts';
import { errnoOf } from '../common/io/errno.ts';
import type { Answer, Asked, Send } from './connection.ts';

export interface LeaderSearch {
  readonly servers: readonly Address[];
  /** Of the first address; in the URLs that are sent. */
  readonly origin: string;
  readonly send: Send;
  readonly clock: Clock;
  readonly delay: Delay;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/**
 * A standby listens on no port before it leads, so whoever answers is the leader; while nobody does, a takeover may be under way and
 * is waited for. What may have been done already is not sent a second time.
 */
export function sendToLeader({ servers, origin, send, clock, delay, random }: LeaderSearch): Send {
  const origins = servers.map((server) => origin.replace(/^(https?:\/\/).*$/, `$1${formatAddress(server)}`));
  let at = 0;
  return async (url, init = {}) => {
    const until = clock.monotonic() + limits.leaderSearchMs;
    for (let tried = 1; ; tried += 1) {
      const there = origins[at] ?? origin;
      try {
        return await inTime(send, url.replace(origin, there), init);
      } catch (error) {
        if (init.signal?.aborted || !mayAskAnother(error, init.method)) throw error;
        at = (at + 1) % origins.length;
        if (clock.monotonic() >= until) throw error;
        // Once round at once; then nobody leads yet.
        if (tried % origins.length > 0) continue;
        const pauseMs = limits.reconnectMsMax * (0.5 + random() / 2);
        await delay(pauseMs, init.signal ?? new AbortController().signal);
      }
    }
  };
}

/**
 * A coordinator that stands still keeps its connections and says nothing; only of a question is it known that asking another does no
 * harm. One that is busy with the answer still says that it is well.
 */
async function inTime(send: Send, url: string, init: Asked): Promise<Answer> {
  if (!isQuestion(init.method)) return await send(url, init);
  const over = new AbortController();
  const ended = new AbortController();
  const signal = init.signal ? AbortSignal.any([init.signal, over.signal]) : over.signal;
  const look = async (): Promise<void> => {
    const isThere = await isWell(send, url, ended.signal);
    if (ended.signal.aborted) return;
    if (isThere) timer.refresh();
    else over.abort();
  };
  const timer = setTimeout(() => void look(), limits.leaderSilentMs);
  try {
    return await send(url, { ...init, signal });
  } catch (error) {
    if (!over.signal.aborted || init.signal?.aborted) throw error;
    const { host } = new URL(url);
    throw new BatchError('COORDINATOR_UNREACHABLE', `the coordinator at ${host} does not answer`, { cause: error });
  } finally {
    clearTimeout(timer);
    ended.abort();
  }
}

/** Whether the coordinator that was asked at `url` says anything now. */
async function isWell(send: Send, url: string, ended: AbortSignal): Promise<boolean> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), limits.leaderSilentMs);
  try {
    await (await send(new URL('/healthz', url).href, { signal: AbortSignal.any([late.signal, ended]) })).text();
    return true;
  } catch (error) {
    // A refusal is a word, too.
    return error instanceof BatchError && error.code !== 'COORDINATOR_UNREACHABLE';
  } finally {
    clearTimeout(timer);
  }
}

function isQuestion(method = 'GET'): boolean {
  return method === 'GET' || method === 'HEAD';
}

function mayAskAnother(error: unknown, method?: string): boolean {
  if (!(error instanceof BatchError) || error.code !== 'COORDINATOR_UNREACHABLE') return false;
  return isQuestion(method) || isUnheard(error);
}

/** The connection was never made. */
function isUnheard({ cause }: BatchError): boolean {
  const inner = cause instanceof Error && cause.cause !== undefined ? cause.cause : cause;
  return ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'].includes(
    errnoOf(inner),
  );
}
