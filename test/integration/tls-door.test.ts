/** The end of the worker nodes' port: nothing that has come is left, however far it is. */
import { connect as connectPlainly, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { once } from 'node:events';
import { expect, test, vi } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { Authority } from '../../common/security/authority.ts';
import { TlsDoor } from '../../coordinator/service/tls-door.ts';

test('a closed door ends connections that are served, and those whose handshake is under way', async () => {
  const authority = await Authority.of(await Authority.make(systemClock.wall()));
  const certificate = {
    ...(await authority.issueServer(['localhost'], systemClock.wall())),
    authority: authority.cert,
  };
  const served: Socket[] = [];
  const door = await TlsDoor.open({
    ...{ host: '127.0.0.1', port: 0, certificate, isGood: () => false },
    onConnection: (socket) => void served.push(socket.resume()),
  });
  const half = connectPlainly(door.port, '127.0.0.1');
  await once(half, 'connect');
  // The head of a record that does not come.
  half.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]));
  const to = { host: '127.0.0.1', port: door.port, ca: authority.cert, servername: 'batchmill-coordinator' };
  const whole = connect({ ...to, ALPNProtocols: ['h2'] });
  await once(whole, 'secureConnect');
  await vi.waitFor(() => expect(served).toHaveLength(1));
  expect(half.destroyed).toBe(false);
  for (const socket of [half, whole]) socket.on('error', () => undefined).resume();
  door.close();
  // Long before the handshake is given up for its time.
  const isEnded = () => expect([half, whole, served[0]].map((socket) => socket?.destroyed)).toEqual([true, true, true]);
  await vi.waitFor(isEnded, { timeout: limits.handshakeMsMax / 2 });
});
