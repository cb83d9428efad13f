import { BatchError } from './batch-error.ts';

/**
 * Fencing token of a lease: the coordinator's epoch, which grows with every start, and a counter of grants within it.
 * A report with a token that is no longer the mini-batch's is refused with LEASE_STALE.
 */
export interface Token {
  readonly epoch: number;
  readonly counter: number;
}

/** `7.12` */
export function formatToken(token: Token): string {
  return `${token.epoch}.${token.counter}`;
}

export function parseToken(text: string): Token {
  const match = /^(\d+)\.(\d+)$/.exec(text);
  if (!match) throw new BatchError('REQUEST_INVALID', `a fencing token looks like 7.12, not ${JSON.stringify(text)}`);
  return { epoch: Number(match[1]), counter: Number(match[2]) };
}

export function isSameToken(a: Token, b: Token): boolean {
  return a.epoch === b.epoch && a.counter === b.counter;
}
