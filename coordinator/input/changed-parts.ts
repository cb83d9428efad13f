/** Parts of a file that has changed since it was shared out: scored anew all together, or not at all, since two versions make no file. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { FilePart } from '../../common/core/input.ts';
import type { ChangedFile } from './input-changes.ts';

/** One that failed, and what its file is now. */
export interface ChangedPart {
  readonly ordinal: number;
  readonly path: string;
  /** As it was listed. */
  readonly part: FilePart;
  readonly fileBytes: number;
  readonly identity: string;
}

/** In input order. They stay cut where they were, and the last one ends with the file. @throws INPUT_CHANGED */
export function anew(parts: readonly ChangedPart[]): readonly ChangedFile[] {
  let before: ChangedPart | null = null;
  for (const one of parts) {
    const follows: boolean = before !== null && before.path === one.path;
    if (before && !follows) checkEnd(before);
    const wanted = follows ? before?.part.end : 0;
    if (one.part.begin !== wanted || (follows && before?.identity !== one.identity)) throw refused(one);
    before = one;
  }
  if (before) checkEnd(before);
  return parts.map(({ ordinal, part, fileBytes, identity }) => {
    const begin = Math.min(part.begin, fileBytes);
    const end = part.end === part.fileBytes ? fileBytes : Math.min(part.end, fileBytes);
    return { ordinal, sizeBytes: end - begin, identity, part: { begin, end, fileBytes } };
  });
}

function checkEnd(last: ChangedPart): void {
  if (last.part.end !== last.part.fileBytes) throw refused(last);
}

function refused({ path }: ChangedPart): BatchError {
  return new BatchError(
    'INPUT_CHANGED',
    `${path} has changed since it was listed, and other parts of it have been scored: parts of two versions make no file. ` +
      'Run the job again, or put back the file as it was, with its time of modification',
  );
}
