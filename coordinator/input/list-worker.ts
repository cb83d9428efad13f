/** Entry of a thread that reads one list of inputs; the next block is read when the one before is done with. */
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputList } from '../../common/core/input-selection.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { decodeListBlocks } from './list-blocks.ts';
import type { ListReply } from './list-thread.ts';

const port = parentPort;
const list = workerData as InputList;
const say = (reply: ListReply): void => port?.postMessage(reply);

async function readList(): Promise<void> {
  try {
    const file = await open(list.path);
    for await (const block of decodeListBlocks(list, file)) {
      const asked = port && once(port, 'message');
      say({ kind: 'block', block });
      await asked;
    }
    say({ kind: 'end' });
  } catch (error) {
    const message = `the list of inputs ${list.path} cannot be read: ${reasonOf(error)}`;
    const failure = error instanceof BatchError ? error : new BatchError('INPUT_UNREADABLE', message);
    say({ kind: 'failure', failure: failure.toFailure() });
  }
}

void readList();
