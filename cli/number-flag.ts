/** Numbers as flags give them. */
import { BatchError } from '../common/core/batch-error.ts';

/** Null: it is not given. @throws USAGE */
export function numberFlag(flag: string, text: string | undefined, max: number = Number.MAX_VALUE): number | null {
  if (text === undefined) return null;
  const number = Number(text);
  if (text.trim() !== '' && number >= 0 && number <= max) return number;
  throw new BatchError('USAGE', `${flag}: wanted a number from 0 to ${max}, found ${text}`);
}
