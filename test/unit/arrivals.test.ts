/** Who is let in, when, and who no more. */
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { Arrivals } from '../../coordinator/service/arrivals.ts';

function door() {
  const admitted: Socket[] = [];
  const turns: (() => void)[] = [];
  const clock = { now: 0 };
  const arrivals = new Arrivals({
    onAdmitted: (socket) => admitted.push(socket),
    now: () => clock.now,
    nextTurn: (then) => turns.push(then),
  });
  const come = (count: number): Socket[] =>
    Array.from({ length: count }, () => {
      const socket = new Socket();
      arrivals.add(socket);
      return socket;
    });
  return { admitted, turns, clock, arrivals, come, turn: () => turns.shift()?.() };
}

test('whoever comes alone is let in at once', () => {
  const { admitted, come } = door();
  expect(admitted).toEqual(come(1));
});

test('of many a few are let in per turn, in order, and then none is waited for', () => {
  const { admitted, turns, arrivals, come, turn } = door();
  const all = come(3 * limits.arrivalsPerTurn);
  const perTurn: number[] = [];
  for (let turned = 0; turns.length > 0; turned += 1) {
    const before = admitted.length;
    turn();
    perTurn.push(admitted.length - before);
    expect(turned).toBeLessThan(10);
  }
  expect(admitted).toEqual(all);
  expect(Math.max(...perTurn)).toBe(limits.arrivalsPerTurn);
  expect(arrivals.waiting).toBe(0);
});

test('those who come while others wait come after them', () => {
  const { admitted, turns, come, turn } = door();
  const first = come(2 * limits.arrivalsPerTurn);
  turn();
  const second = come(limits.arrivalsPerTurn);
  while (turns.length > 0) turn();
  expect(admitted).toEqual([...first, ...second]);
});

test('who has waited longer than callers wait is let go, without a handshake', () => {
  const { admitted, clock, turns, come, turn } = door();
  const [alone] = come(1);
  const late = come(2);
  clock.now = limits.arrivalMsMax + 1;
  const [fresh] = come(1);
  while (turns.length > 0) turn();
  expect(admitted).toEqual([alone, fresh]);
  expect(late.map(({ destroyed }) => destroyed)).toEqual([true, true]);
});

test('who has gone meanwhile takes nobody’s turn', () => {
  const { admitted, turns, come, turn } = door();
  const [first] = come(1);
  const gone = come(limits.arrivalsPerTurn);
  const [last] = come(1);
  for (const socket of gone) socket.destroy();
  turn();
  expect(admitted).toEqual([first, last]);
  while (turns.length > 0) turn();
  expect(admitted).toHaveLength(2);
});

test('a door that closes ends those who wait', () => {
  const { arrivals, admitted, come } = door();
  const all = come(3);
  arrivals.close();
  expect(admitted).toHaveLength(1);
  expect(all.filter(({ destroyed }) => destroyed)).toHaveLength(2);
});
