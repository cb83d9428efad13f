/** Entry of a thread that looks at local files one after the other: in bulk far cheaper than the thread pool, and a mount that does not answer holds up nothing else. */
import { accessSync, constants, statSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoOf } from '../../common/io/errno.ts';
import { identityOfStats, isReadableByAll } from './local-identity.ts';
import { joined, type LookReply, type LookRequest } from './look-message.ts';

/** Empty when there is no such file. */
function look(path: string): string {
  try {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (!stats) return '';
    if (!isReadableByAll(stats)) accessSync(path, constants.R_OK);
    return identityOfStats(stats);
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return '';
  }
}

parentPort?.on('message', ({ id, paths }: LookRequest) =>
  parentPort?.postMessage({ id, identities: joined(paths.split('\0').map(look)) } satisfies LookReply),
);
