/** Who is let in, when, and who no more. */
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { monotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { Arrivals } from '../../coordinator/service/arrivals.ts';
import { reconnectAt } from '../../worker/core/backoff.ts';

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

/** Streams tell in the next turn what has become of them. */
const settled = (): Promise<void> => new Promise(setImmediate);

test('whoever comes alone is let in at once', () => {
  const { admitted, come } = door();
  expect(admitted).toEqual(come(1));
});

test('of many a few are let in per turn, the last one first, and then none is waited for', () => {
  const { admitted, turns, arrivals, come, turn } = door();
  const all = come(3 * limits.arrivalsPerTurn);
  const perTurn: number[] = [];
  for (let turned = 0; turns.length > 0; turned += 1) {
    const before = admitted.length;
    turn();
    perTurn.push(admitted.length - before);
    expect(turned).toBeLessThan(10);
  }
  expect(new Set(admitted)).toEqual(new Set(all));
  expect(admitted.slice(1)).toEqual(all.slice(1).reverse());
  expect(Math.max(...perTurn)).toBe(limits.arrivalsPerTurn);
  expect(arrivals.waiting).toBe(0);
});

test('those who come while others wait come before them', () => {
  const { admitted, turns, come, turn } = door();
  come(2 * limits.arrivalsPerTurn);
  turn();
  const before = admitted.length;
  const second = come(limits.arrivalsPerTurn);
  turn();
  expect(admitted.slice(before)).toEqual([...second].reverse());
  while (turns.length > 0) turn();
  expect(admitted).toHaveLength(3 * limits.arrivalsPerTurn);
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

test('what a waiting caller says is there for who takes it over', async () => {
  const { admitted, turns, come, turn } = door();
  const [, socket] = come(2);
  socket?.push(Buffer.from('hel'));
  socket?.push(Buffer.from('lo'));
  await settled();
  while (turns.length > 0) turn();
  expect(admitted).toContain(socket);
  expect(String(socket?.read())).toBe('hello');
});

test('a caller who says too much before he is answered is let go', async () => {
  const { admitted, turns, come, turn } = door();
  const [alone, loud] = come(2);
  loud?.push(Buffer.alloc(limits.arrivalBytesMax + 1));
  await settled();
  while (turns.length > 0) turn();
  expect(admitted).toEqual([alone]);
  expect(loud?.destroyed).toBe(true);
});

/** Each of `nodes` gives up after `patienceMs` and calls again as a real one does; who is let in costs `msEach`. Times are virtual. */
async function storm(nodes: number, patienceMs: number, msEach: number) {
  const { admitted, clock, come, turn } = door();
  // A fixed sequence: the same at every run.
  let seed = 1;
  const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  const away = new Set(Array.from({ length: nodes }, () => ({ at: 0, tries: 0 })));
  const calls = new Map<Socket, { at: number; tries: number }>();
  const [callsInVain, handshakesInVain] = [{ count: 0 }, { count: 0 }];
  const giveUp = (socket: Socket): void => {
    const call = calls.get(socket);
    if (!call) return;
    callsInVain.count += 1;
    const at = reconnectAt(monotonicMs(clock.now), call.tries + 1, random());
    away.add({ at, tries: call.tries + 1 });
    calls.delete(socket);
    // As the end of a connection comes.
    socket.push(null);
  };
  let seen = 0;
  while (away.size + calls.size > 0) {
    for (const [socket, { at }] of calls) if (clock.now - at >= patienceMs) giveUp(socket);
    for (const call of away) {
      if (call.at > clock.now) continue;
      away.delete(call);
      for (const socket of come(1)) calls.set(socket, { at: clock.now, tries: call.tries });
    }
    await settled();
    turn();
    if (seen === admitted.length) clock.now += 50;
    for (; seen < admitted.length; seen += 1) {
      clock.now += msEach;
      const socket = admitted[seen];
      const call = socket && calls.get(socket);
      if (!socket || !call || clock.now - call.at >= patienceMs) handshakesInVain.count += 1;
      else calls.delete(socket);
    }
    expect(clock.now).toBeLessThan(300_000);
  }
  return { ms: clock.now, callsInVain: callsInVain.count / nodes, handshakesInVain: handshakesInVain.count };
}

test.each([limits.joinCallMsMax, limits.joinCallMsMax / 2])(
  'a thousand that come at once and wait %i ms are let in with few vain calls, and hardly a vain handshake',
  async (patienceMs) => {
    const { ms, callsInVain, handshakesInVain } = await storm(1_000, patienceMs, 11);
    expect(ms).toBeLessThan(1.5 * 11 * 1_000);
    expect(callsInVain).toBeLessThan(3);
    expect(handshakesInVain).toBeLessThan(50);
  },
);

test('a door that closes ends those who wait', () => {
  const { arrivals, admitted, come } = door();
  const all = come(3);
  arrivals.close();
  expect(admitted).toHaveLength(1);
  expect(all.filter(({ destroyed }) => destroyed)).toHaveLength(2);
});
