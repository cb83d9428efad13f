/** Paths that come from outside stay inside the folder that they are relative to. */
import { join } from 'node:path';
import { BatchError } from '../core/batch-error.ts';

/** True for a relative path of plain names: nothing absolute, no `.` or `..`, no empty name, no NUL. */
export function isConfined(path: string): boolean {
  return !unconfined.test(path);
}

const unconfined = /(?:^|\/)\.{0,2}(?:\/|$)|\0/;

/** `root`/`path`. Throws REQUEST_INVALID when `path` could lead out of `root`. */
export function confine(root: string, path: string): string {
  if (isConfined(path)) return join(root, path);
  throw new BatchError(
    'REQUEST_INVALID',
    `wanted a path inside ${root}, found ${JSON.stringify(path)}, which is absolute or leads out of it`,
  );
}
