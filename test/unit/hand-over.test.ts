/** Another coordinator is let lead before this one ends, when there is one. */
import { expect, test } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { silentLog } from '../../common/io/log.ts';
import { HandOver } from '../../coordinator/standby/hand-over.ts';

function rig(successor: (() => Promise<string>) | null) {
  const said: string[] = [];
  const handOver = new HandOver({
    leadership: successor && { successor },
    announce: (withinMs) => said.push(`announced for ${withinMs}`),
    leave: ({ code, message }) => said.push(`${code} ${message}`),
    delay: (ms) => {
      said.push(`waited ${ms}`);
      return Promise.resolve();
    },
    log: silentLog,
  });
  return { handOver, said };
}

const told = [`announced for ${limits.handOverMs}`, `waited ${limits.handOverAfterMs}`];
const nobody = (): Promise<string> => Promise.reject(new BatchError('NO_STANDBY', 'nobody'));

test('worker nodes are told and granted work before it ends', async () => {
  const { handOver, said } = rig(() => Promise.resolve('b'));
  await handOver.beforeEnd();
  expect(said).toEqual(told);
});

test.each([
  ['it is the only one', null],
  ['nobody stands by', nobody],
  ['NATS is away', () => Promise.reject(new BatchError('JOURNAL_STREAM_UNREACHABLE', 'away'))],
])('it ends at once when %s', async (_why, successor) => {
  const { handOver, said } = rig(successor);
  await handOver.beforeEnd();
  expect(said).toEqual([]);
});

test('whoever asks for it hears who is next, and then it ends', async () => {
  const { handOver, said } = rig(() => Promise.resolve('b'));
  expect(await handOver.asked()).toBe('b');
  await Promise.resolve();
  expect(said).toEqual([...told, 'NOT_LEADING handed over to b']);
});

test.each([null, nobody])('who asks for it where nobody stands by is refused, and nothing ends', async (successor) => {
  const { handOver, said } = rig(successor);
  await expect(handOver.asked()).rejects.toMatchObject({ code: 'NO_STANDBY' });
  expect(said).toEqual([]);
});
