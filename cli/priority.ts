/** What `--priority` says. */
import { BatchError } from '../common/core/batch-error.ts';

/** @throws USAGE */
export function priorityOf(text: string): number {
  const priority = Number(text);
  if (/^-?\d{1,3}$/.test(text.trim()) && Math.abs(priority) <= 100) return priority;
  throw new BatchError('USAGE', `--priority: wanted a whole number from -100 to 100, found ${JSON.stringify(text)}`);
}
