/** Bytes of a large table that is shared out: read where they lie, or asked for where somebody else has them. */
import { open } from 'node:fs/promises';
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';

export interface PartSource {
  /** Of the whole file. */
  readonly fileBytes: number;
  /** All bytes of the range, in order; a caller that stops early lets the rest be. */
  read(begin: number, end: number): AsyncIterable<Uint8Array>;
}

/** Takes bytes that a host needs, with their place in the file. */
export type Keep = (bytes: Uint8Array, offset: number) => Promise<void>;

const blockBytes = 1_048_576;

/** A file of this machine; `name` is for messages. */
export function localSource(path: string, name: string, fileBytes: number, signal: AbortSignal): PartSource {
  async function* read(begin: number, end: number): AsyncGenerator<Uint8Array, void, void> {
    try {
      const file = await open(path);
      try {
        for (let at = begin; at < end;) {
          signal.throwIfAborted();
          const block = Buffer.allocUnsafe(Math.min(blockBytes, end - at));
          const { bytesRead } = await file.read(block, 0, block.length, at);
          if (bytesRead === 0) throw new BatchError('INPUT_CHANGED', `${name} ends at byte ${at} now, before ${end}`);
          at += bytesRead;
          yield block.subarray(0, bytesRead);
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof BatchError || errnoOf(error) === '') throw error;
      throw new BatchError('INPUT_UNREADABLE', `${name} cannot be read: ${reasonOf(error)}`, { cause: error });
    }
  }
  return { fileBytes, read };
}

export interface FetchedSourceOptions {
  readonly fileBytes: number;
  readonly name: string;
  readonly open: (begin: number, end: number) => AsyncIterable<Uint8Array>;
  readonly delay: Delay;
  readonly signal: AbortSignal;
}

/** Bytes that come from elsewhere, asked for again from where a connection broke. */
export function fetchedSource({ fileBytes, name, open: ask, delay, signal }: FetchedSourceOptions): PartSource {
  async function* read(begin: number, end: number): AsyncGenerator<Uint8Array, void, void> {
    let at = begin;
    for (let failures = 0; at < end;) {
      try {
        for await (const piece of ask(at, end)) {
          signal.throwIfAborted();
          // A coordinator of an older release sends on behind the end.
          const wanted = piece.subarray(0, end - at);
          at += wanted.length;
          failures = 0;
          yield wanted;
          if (at >= end) return;
        }
        throw new BatchError('INPUT_CHANGED', `${name} had ${fileBytes} bytes when it was listed, ${at} came now`);
      } catch (error) {
        failures += 1;
        const isBroken = toBatchError(error).code === 'COORDINATOR_UNREACHABLE';
        if (signal.aborted || !isBroken || failures >= limits.fetchFailuresMax) throw error;
        await delay(limits.reconnectMsMin * 2 ** failures, signal);
        signal.throwIfAborted();
      }
    }
  }
  return { fileBytes, read };
}

/** The bytes of a range, which is small. */
export async function bytesOf(source: PartSource, begin: number, end: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source.read(begin, end)) pieces.push(piece);
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}
