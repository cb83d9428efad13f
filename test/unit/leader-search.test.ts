/** Where requests go while coordinators take over from each other. */
import { expect, it } from 'vitest';
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
