import { describe, expect, it } from 'vitest';
import { agreedProtocol, protocolText, spokenHere } from '../../common/core/protocol.ts';

/** `[oldest, newest]` of one side and of the other, and what comes of it. */
const sessions = [
  ['the same release', [1, 2], [1, 2], 2],
  ['a newer one', [2, 3], [1, 2], 2],
  ['a release that knew of one number only', [1, 1], [1, 2], 1],
  ['a jump of several', [1, 5], [2, 3], 3],
  ['two releases apart', [3, 4], [1, 2], null],
  ['no number at all', [0, 0], [1, 2], null],
] as const;

describe('the protocol of a session', () => {
  it.each(sessions)('with %s', (_name, [a, b], [c, d], agreed) => {
    const [one, other] = [
      { oldest: a, newest: b },
      { oldest: c, newest: d },
    ];
    expect(agreedProtocol(one, other)).toBe(agreed);
    expect(agreedProtocol(other, one)).toBe(agreed);
  });

  it('is one of this release or the one before', () => {
    expect(spokenHere.newest - spokenHere.oldest).toBe(1);
    expect(protocolText(spokenHere)).toBe(`${spokenHere.oldest} to ${spokenHere.newest}`);
    expect(protocolText({ oldest: 4, newest: 4 })).toBe('4');
  });
});
