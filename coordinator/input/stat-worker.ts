/** Entry of a thread that looks at files one after the other: in bulk far cheaper than the thread pool, and off the event loop. */
import { statSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoOf } from '../../common/io/errno.ts';
import { unreadableIdentity } from '../../common/core/input.ts';
import { localIdentity } from './stat-files.ts';

export interface StatRequest {
  readonly id: number;
  readonly base: string;
  readonly paths: readonly string[];
}

export interface StatReply {
  readonly id: number;
  readonly sizes: readonly number[];
  readonly identities: readonly string[];
}

function look(request: StatRequest): StatReply {
  const sizes: number[] = [];
  const identities: string[] = [];
  for (const path of request.paths) {
    const [size, identity] = lookAt(`${request.base}/${path}`);
    sizes.push(size);
    identities.push(identity);
  }
  return { id: request.id, sizes, identities };
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

parentPort?.on('message', (request: StatRequest) => parentPort?.postMessage(look(request)));
