/** The pace of a job and how long the rest takes: from what was lately, and from all that was seen. */
import { describe, expect, test } from 'vitest';
import { createPace, timeLeft, timeLeftText } from '../../cli/pace.ts';
import { testHost } from '../helpers/cli-host.ts';

function paceAfter(counts: readonly (readonly [seconds: number, count: number])[]) {
  const host = testHost();
  const pace = createPace(host.clock);
  return counts.map(([seconds, count]) => {
    host.nowMs = seconds * 1_000;
    return pace(count);
  });
}

describe('pace', () => {
  test('is known after a second in which something moved', () => {
    expect(
      paceAfter([
        [0, 100],
        [0.9, 200],
        [2, 100],
        [2.5, 600],
      ]),
    ).toEqual([null, null, null, { whole: 200, recent: expect.closeTo(200) as number }]);
  });

  test('a steady one is the same lately and in all', () => {
    const steady = Array.from({ length: 400 }, (_, second) => [second, second * 10] as const);
    expect(paceAfter(steady).at(-1)).toEqual({ whole: 10, recent: 10 });
  });

  test('one that slows down shows lately first', () => {
    const slowing = Array.from(
      { length: 121 },
      (_, second) => [second, second <= 60 ? second * 20 : 1_200 + (second - 60) * 5] as const,
    );
    const last = paceAfter(slowing).at(-1);
    expect(last).toEqual({ whole: 12.5, recent: 5 });
    expect(timeLeft(1_000, last as { whole: number; recent: number })).toEqual({ shortest: 80, longest: 200 });
  });

  test('one that stands has no upper bound', () => {
    const standing = Array.from({ length: 101 }, (_, second) => [second, Math.min(500, second * 10)] as const);
    const last = paceAfter(standing).at(-1) as { whole: number; recent: number };
    expect(last).toEqual({ whole: 5, recent: 0 });
    expect(timeLeftText(timeLeft(50, last))).toBe('10 s left or more');
  });
});

test.each([
  [{ shortest: 50, longest: 100 }, '50 s to 2 min left'],
  [{ shortest: 61, longest: 119 }, 'about 2 min left'],
  [{ shortest: 3_600, longest: 9_000 }, '1.0 h to 2.5 h left'],
])('%j', (left, wanted) => {
  expect(timeLeftText(left)).toBe(wanted);
});
