/** Reads the system's error codes off what Node throws. */
import { BatchError } from '../core/batch-error.ts';

/** `ENOENT`, `EIO`, …; empty for what is not a system error. */
export function errnoOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** No room, or no more room for this user: what passes when somebody makes room. */
export function isDiskFull(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** The system's own words, for the end of a message. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * What came from outside (the disk, a request) as the error that it is; null for a defect of our own, which nobody
 * answers for but the process.
 */
export function outsideError(error: unknown, what: string): BatchError | null {
  if (error instanceof BatchError) return error;
  if (errnoOf(error) === '') return null;
  const code = isDiskFull(error) ? 'DISK_FULL' : 'STATE_UNWRITABLE';
  return new BatchError(code, `${what}: ${reasonOf(error)}`, { cause: error });
}
