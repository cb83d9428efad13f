/** Failures of a job, the same ones counted together, the user's own frames first. Pure. */
import type { Failure } from '../../common/core/batch-error.ts';
import { errorSignature } from '../../common/core/error-signature.ts';
import { countFailed, type FailedFile } from '../core/ledger.ts';

export interface FailureGroup {
  readonly signature: string;
  /** Files that failed so. */
  readonly files: number;
  /** The one with the lowest ordinal. */
  readonly example: FailedFile;
  /** Ordinals of the first and the last file. */
  readonly first: number;
  readonly last: number;
}

/** Most files first; among equals the one that comes first in the input. */
export function groupFailures(failures: Iterable<FailedFile>): readonly FailureGroup[] {
  const groups = new Map<string, FailureGroup>();
  for (const failed of failures) {
    // A crash is alike by its code, and for people by the way it ended.
    const signature = [failureSignature(failed.failure), failed.circumstances?.hostExit ?? ''].join(' | ');
    const group = groups.get(signature);
    const last = failed.first + failed.count - 1;
    groups.set(
      signature,
      group === undefined
        ? { signature, files: countFailed(failed), example: failed, first: failed.first, last }
        : {
            signature,
            files: group.files + countFailed(failed),
            example: failed.first < group.example.first ? failed : group.example,
            first: Math.min(group.first, failed.first),
            last: Math.max(group.last, last),
          },
    );
  }
  return [...groups.values()].sort((a, b) => b.files - a.files || a.first - b.first);
}

/** Equal for failures with one cause: the code, the message as {@link errorSignature} has it, and the place in the user's code. */
export function failureSignature(failure: Failure): string {
  return [errorSignature(failure), lastUserFrame(failure.detail) ?? ''].join(' | ');
}

const pythonFrame = /^\s*File "([^"]+)", line (\d+)(?:, in (.+))?/;
const nodeFrame = /^\s*at (?:(.+) \()?(?:file:\/\/)?([^()\s]+):(\d+):\d+\)?$/;

/** `score.py:12 in run`; null when there is none. */
function lastUserFrame(detail: string): string | null {
  const lines = detail.split('\n');
  const python = lines.map((line) => pythonFrame.exec(line)).filter((found) => found && isUserCode(found[1] ?? ''));
  const [, path = '', line = '', name] = python.at(-1) ?? lines.map(nodeFrameOf).find((found) => found) ?? [];
  return path === '' ? null : `${path.split('/').at(-1) ?? path}:${line}${name ? ` in ${name}` : ''}`;
}

function nodeFrameOf(line: string): readonly (string | undefined)[] | null {
  const [, name, path = '', row] = nodeFrame.exec(line) ?? [];
  return path !== '' && isUserCode(path) ? ['', path, row, name] : null;
}

/** Neither the interpreter's library, nor a package, nor ours. */
function isUserCode(path: string): boolean {
  return !/^<|\/site-packages\/|\/dist-packages\/|\/lib\/python\d|\/node_modules\/|\/batchmill_host\/|^node:/.test(
    path,
  );
}

/** Where a node has put a job's code: what the user knows of the path comes behind it. */
const stagedPath = /(?:file:\/\/)?(?:\/[^/\s"']+)+\/artifacts\/[0-9a-f]{64}[^/\s]*\//g;

/** A traceback without the frames of libraries, as long as one of the user's own is left; other text as it is. */
export function userTraceback(given: string): string {
  const detail = given.replaceAll(stagedPath, '');
  const kept: string[] = [];
  let isForeign = false;
  let own = 0;
  for (const line of detail.trimEnd().split('\n')) {
    const python = pythonFrame.exec(line);
    const node = nodeFrame.exec(line);
    const path = python?.[1] ?? node?.[2] ?? (/^\s*at .*\bnode:/.test(line) ? '<node>' : null);
    if (path !== null) {
      isForeign = !isUserCode(path);
      if (!isForeign) own += 1;
    } else if (!/^ {4}/.test(line)) {
      // Source lines and carets belong to the frame above; anything else is the traceback's own.
      isForeign = false;
    }
    if (!isForeign) kept.push(line);
  }
  return own === 0 ? detail.trimEnd() : kept.join('\n');
}
