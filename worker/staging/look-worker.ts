/** Entry of a thread that looks at local files one after the other: in bulk far cheaper than the thread pool, and a mount that does not answer holds up nothing else. */
import { accessSync, constants, statSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoOf } from '../../common/io/errno.ts';
import { identityOfStats, isReadableByAll } from './local-identity.ts';

export interface LookRequest {
  readonly id: number;
  /** Absolute. */
  readonly paths: readonly string[];
}

export interface LookReply {
  readonly id: number;
  readonly identities: readonly (string | null)[];
}

function look(path: string): string | null {
  try {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (!stats) return null;
    if (!isReadableByAll(stats)) accessSync(path, constants.R_OK);
    return identityOfStats(stats);
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return null;
  }
}

parentPort?.on('message', ({ id, paths }: LookRequest) =>
  parentPort?.postMessage({ id, identities: paths.map(look) } satisfies LookReply),
);
