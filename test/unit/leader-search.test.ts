/** Where requests go while coordinators take over from each other. */
import { expect, it, vi } from 'vitest';
import type { Asked } from '../../cli/connection.ts';
import { sendToLeader, type LeaderSearch } from '../../cli/leader-search.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import { failing } from '../helpers/failing.ts';

const servers = [
  { host: 'a', port: 1 },
  { host: 'b', port: 2 },
];
const origin = 'https://a:1';

function search(answer: (host: string, tried: number) => Response | string): {
  readonly send: ReturnType<typeof sendToLeader>;
  readonly asked: string[];
  readonly waited: number[];
} {
  const asked: string[] = [];
  const waited: number[] = [];
  let now = 0;
  const given: LeaderSearch = {
    ...{ servers, origin, random: () => 0.5 },
    clock: { monotonic: () => monotonicMs(now), wall: () => 0 },
    delay: async (ms) => {
      waited.push(ms);
      now += ms;
      await Promise.resolve();
    },
    send: async (url) => {
      const { host, pathname } = new URL(url);
      asked.push(`${host}${pathname}`);
      const answered = answer(host, asked.length);
      if (answered instanceof Response) return await Promise.resolve(answered);
      const cause = Object.assign(new Error('away'), { code: answered });
      throw new BatchError('COORDINATOR_UNREACHABLE', `${host} is away`, { cause });
    },
  };
  return { send: sendToLeader(given), asked, waited };
}

it('goes on to the next that answers, and stays there', async () => {
  const { send, asked, waited } = search((host) => (host === 'b:2' ? new Response('yes') : 'ECONNREFUSED'));
  expect(await (await send(`${origin}/v1/jobs`)).text()).toBe('yes');
  await send(`${origin}/v1/nodes`);
  expect([asked, waited]).toEqual([['a:1/v1/jobs', 'b:2/v1/jobs', 'b:2/v1/nodes'], []]);
});

it('waits while nobody leads, with jitter, and gives up in the end', async () => {
  const later = search((_host, tried) => (tried > 5 ? new Response('yes') : 'ECONNREFUSED'));
  await later.send(`${origin}/v1/jobs`, { method: 'POST' });
  expect([later.asked.length, later.waited]).toEqual([6, [750, 750]]);
  const never = search(() => 'ECONNREFUSED');
  await expect(never.send(`${origin}/v1/jobs`)).rejects.toThrow(failing('COORDINATOR_UNREACHABLE', 'is away'));
  expect(never.waited.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThanOrEqual(limits.leaderSearchMs);
});

it('sends nothing twice that may have been done', async () => {
  const broken = search(() => 'ECONNRESET');
  await expect(broken.send(`${origin}/v1/jobs`, { method: 'POST' })).rejects.toThrow('a:1 is away');
  expect(broken.asked).toEqual(['a:1/v1/jobs']);
  const question = search((host) => (host === 'b:2' ? new Response('yes') : 'ECONNRESET'));
  await question.send(`${origin}/v1/jobs`);
  expect(question.asked).toEqual(['a:1/v1/jobs', 'b:2/v1/jobs']);
});

/** Questions that are answered after so long; one that is null never is. Time goes as {@link vi} says. */
function slow(answerMs: (host: string, path: string) => number | null): {
  readonly send: ReturnType<typeof sendToLeader>;
  readonly asked: string[];
} {
  const asked: string[] = [];
  const send = async (url: string, { signal }: Asked = {}): Promise<Response> => {
    const { host, pathname } = new URL(url);
    asked.push(`${host}${pathname}`);
    const ms = answerMs(host, pathname);
    return await new Promise<Response>((resolve, reject) => {
      if (ms !== null) setTimeout(() => resolve(new Response('yes')), ms);
      signal?.addEventListener('abort', () => reject(new BatchError('COORDINATOR_UNREACHABLE', 'left')));
    });
  };
  const clock = { monotonic: () => monotonicMs(0), wall: () => 0 };
  return { send: sendToLeader({ ...{ servers, origin, send, clock, random: () => 0.5 }, delay: noWait }), asked };
}

const noWait = async (): Promise<void> => await Promise.resolve();

it('waits on for the answer of one that says that it is well, and leaves one that says nothing', async () => {
  vi.useFakeTimers();
  try {
    const busy = slow((_host, path) => (path === '/healthz' ? 10 : limits.leaderSilentMs * 3));
    const answer = busy.send(`${origin}/v1/jobs/a/compare/b`);
    await vi.advanceTimersByTimeAsync(limits.leaderSilentMs * 3);
    expect(await (await answer).text()).toBe('yes');
    expect(busy.asked).toEqual(['a:1/v1/jobs/a/compare/b', 'a:1/healthz', 'a:1/healthz']);
    const still = slow((host) => (host === 'a:1' ? null : 0));
    const other = still.send(`${origin}/v1/jobs`);
    await vi.advanceTimersByTimeAsync(limits.leaderSilentMs * 2 + 1);
    expect(await (await other).text()).toBe('yes');
    expect(still.asked).toEqual(['a:1/v1/jobs', 'a:1/healthz', 'b:2/v1/jobs']);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
