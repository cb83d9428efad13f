/**
 * Reads a list of inputs in a thread of its own, a block when it is asked for: a Parquet file that is damaged in the right place
 * keeps its decoder busy for ever, and must not keep the coordinator.
 */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import type { InputList } from '../../common/core/input-selection.ts';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import { listError, type ListBlock } from './list-blocks.ts';

export type ListReply =
  | { readonly kind: 'block'; readonly block: ListBlock }
  | { readonly kind: 'end' }
  | { readonly kind: 'failure'; readonly failure: Failure };

const workerFile = compiledFile('coordinator', 'input', 'list-worker.js');

/** Null where the sources run uncompiled. @throws INPUT_LIST_INVALID, also when one block takes longer than `blockMsMax` */
export function readInThread(
  list: InputList,
  blockMsMax: number = limits.inputListBlockMsMax,
): AsyncGenerator<ListBlock> | null {
  return existsSync(workerFile) ? blocks(list, blockMsMax) : null;
}

async function* blocks(list: InputList, blockMsMax: number): AsyncGenerator<ListBlock> {
  const thread = new Worker(workerFile, { workerData: list });
  try {
    for (;;) {
      const reply = await nextOf(thread, list, blockMsMax);
      if (reply.kind === 'end') return;
      if (reply.kind === 'failure') throw BatchError.fromFailure(reply.failure);
      yield reply.block;
      thread.postMessage('next');
    }
  } finally {
    await thread.terminate();
  }
}

function nextOf(thread: Worker, list: InputList, blockMsMax: number): Promise<ListReply> {
  return new Promise<ListReply>((resolve, reject) => {
    const timer = setTimeout(() => {
      const what = `a part of it cannot be decoded in ${blockMsMax / 1_000} s; it is damaged, or its row groups are too large`;
      onError(listError(list, 0, what));
    }, blockMsMax);
    const done = (): void => {
      clearTimeout(timer);
      thread.off('message', onReply).off('error', onError).off('exit', onExit);
    };
    const onReply = (reply: ListReply): void => {
      done();
      resolve(reply);
    };
    // A damaged length may well ask for more memory than there is.
    const onError = (error: Error): void => {
      done();
      const isOurs = error instanceof BatchError;
      reject(isOurs ? error : listError(list, 0, `cannot be decoded: ${reasonOf(error)}`, error));
    };
    const onExit = (code: number): void => onError(new Error(`its thread ended with code ${code}`));
    thread.on('message', onReply).on('error', onError).on('exit', onExit);
  });
}
