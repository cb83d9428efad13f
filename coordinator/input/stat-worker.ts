/** Entry of a thread that looks at files one after the other: in bulk far cheaper than the thread pool, and off the event loop. */
import { statSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { systemClock } from '../../common/io/clock.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { unreadableIdentity } from '../../common/core/input.ts';
import { localIdentity } from './stat-files.ts';
import { joined, taken, type StatReply, type StatRequest } from './stat-message.ts';

function look({ id, base, paths }: StatRequest): StatReply {
  const began = systemClock.monotonic();
  const names = taken(paths);
  const sizes = new Float64Array(names.length);
  const identities = names.map((name, index) => {
    const [size, identity] = lookAt(`${base}/${name}`);
    sizes[index] = size;
    return identity;
  });
  return { id, sizes, identities: joined(identities), ms: systemClock.monotonic() - began };
}

function lookAt(path: string): readonly [number, string] {
  try {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stats?.isFile() ? [Number(stats.size), localIdentity(stats)] : [0, unreadableIdentity];
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return [0, unreadableIdentity];
  }
}

parentPort?.on('message', (request: StatRequest) => {
  const reply = look(request);
  parentPort?.postMessage(reply, [reply.sizes.buffer]);
});
