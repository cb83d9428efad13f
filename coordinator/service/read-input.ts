/** An input file's bytes, for worker nodes that cannot see its path. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputFile } from '../../common/core/input.ts';

/** Where a job's inputs are listed. */
export interface InputSource {
  readonly inputRoot: string;
  readonly catalog: {
    readonly count: number;
    files(first: number, count: number): Promise<readonly InputFile[]>;
  };
}

/** Bytes of a whole file, also where the input is a part of it. */
export interface InputRange {
  readonly offset: number;
  /** Null: to the end. */
  readonly end: number | null;
}

/** Bytes of a listed file, wherever its root is. */
export type OpenInput = (root: string, file: InputFile, range: InputRange) => AsyncIterable<Uint8Array>;

/**
 * The path comes from the listing, never from the caller.
 * @throws INPUT_UNREADABLE, INPUT_CHANGED, REQUEST_INVALID, COORDINATOR_UNREACHABLE when the file is not listed (yet), and what stores throw
 */
export async function* readInput(
  source: InputSource,
  ordinal: number,
  identity: string,
  range: InputRange,
  openInput: OpenInput,
): AsyncGenerator<Uint8Array> {
  if (ordinal >= source.catalog.count) {
    // A lease needs no sync: of what was listed just before a crash it may be in a node's hands before it is listed again.
    const message = `file ${ordinal} was asked for and ${source.catalog.count} are listed so far; ask again`;
    throw new BatchError('COORDINATOR_UNREACHABLE', message);
  }
  const [file] = await source.catalog.files(ordinal, 1);
  if (!file || file.identity !== identity) {
    throw new BatchError('REQUEST_INVALID', `file ${ordinal} is ${file?.identity}, not ${identity}`);
  }
  yield* openInput(source.inputRoot, file, range);
}
