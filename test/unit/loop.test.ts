/** Commands that come together: each sees what the ones before have made, and what follows of itself follows once. */
import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../common/io/clock.ts';
import { jobName } from '../../common/core/ids.ts';
import type { Event } from '../../coordinator/core/events.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { Reactor } from '../../coordinator/core/reactor.ts';
import { Loop } from '../../coordinator/loop.ts';

afterEach(() => void vi.restoreAllMocks());

const room = { kind: 'room', job: null, failure: null } as const;
/** Of a job that nobody has submitted. */
const refused = { kind: 'cancel', job: jobName('none'), wallMs: 0, graceMs: 0 } as const;

function loopWith(published: Event[]): Loop {
  return new Loop({
    ledger: newLedger({ heartbeatMs: null }),
    clock: systemClock,
    append: () => 1,
    carryOut: () => undefined,
    publish: (event) => void published.push(event),
  });
}

it('goes on once for many commands, and once for each that comes alone', () => {
  const goesOn = vi.spyOn(Reactor.prototype, 'goOn');
  const published: Event[] = [];
  const loop = loopWith(published);
  loop.together(() => {
    loop.handle(room);
    loop.together(() => loop.handle(room));
    loop.handle(room);
    expect(published).toHaveLength(3);
    expect(goesOn).not.toHaveBeenCalled();
  });
  expect(goesOn).toHaveBeenCalledTimes(1);
  for (let alone = 0; alone < 3; alone += 1) loop.handle(room);
  expect(goesOn).toHaveBeenCalledTimes(4);
});

it('goes on with what was taken before a command that is refused', () => {
  const goesOn = vi.spyOn(Reactor.prototype, 'goOn');
  const published: Event[] = [];
  const loop = loopWith(published);
  const work = (): void => {
    loop.handle(room);
    loop.handle(refused);
  };
  expect(() => loop.together(work)).toThrow();
  expect([published.length, goesOn.mock.calls.length]).toEqual([1, 1]);
  loop.handle(room);
  expect([published.length, goesOn.mock.calls.length]).toEqual([2, 2]);
});
