import { expect } from 'vitest';

/** For `toMatchObject({ message: matching(/…/) })`: there, a bare regular expression would be equal to any text. */
export function matching(pattern: RegExp): string {
  return expect.stringMatching(pattern) as string;
}
