import { expect } from 'vitest';
import type { ErrorCode } from '../../common/core/error-codes.ts';

/** For `toThrow(…)`, `rejects.toThrow(…)` and `toMatchObject`: a failure of this code whose message has this text. */
export function failing(code: ErrorCode, text: string): Error {
  return expect.objectContaining({ code, message: expect.stringContaining(text) as string }) as Error;
}
