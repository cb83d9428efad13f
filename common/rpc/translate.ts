/**
 * The border of the wire: the parts that messages of both directions share. Reading tolerates what a newer peer may
 * send (an unknown error code becomes INTERNAL) and refuses with REQUEST_INVALID what no release sends.
 */
import { BatchError, type Failure } from '../core/batch-error.ts';
import { isErrorCode } from '../core/error-codes.ts';
import { limits } from '../core/limits.ts';
import type { Token } from '../core/token.ts';
import type { Token as TokenWire, Token__Output } from './generated/batchmill/v1/Token.ts';

export function readToken(wire: Token__Output | null): Token {
  if (!wire) throw new BatchError('REQUEST_INVALID', 'a message names a lease by its fencing token, not by nothing');
  return { epoch: wire.epoch, counter: wire.counter };
}

export function writeToken(token: Token): TokenWire {
  return { epoch: token.epoch, counter: token.counter };
}

/** The wire has no null for lists and strings; this reads a string that must be one of `known`. */
export function readOneOf<T extends string>(known: readonly T[], value: string, what: string): T {
  const found = known.find((one) => one === value);
  if (found !== undefined) return found;
  throw new BatchError('PROTOCOL_MISMATCH', `${what} is one of ${known.join(', ')}, not ${JSON.stringify(value)}`);
}

/** The same as {@link BatchError.fromFailure}, as plain data. */
export function readFailure(wire: {
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
}): Failure {
  const { code, message, detail = '' } = wire;
  return isErrorCode(code) ? { code, message, detail } : { code: 'INTERNAL', message: `${code}: ${message}`, detail };
}

/** Bounded, so that one traceback never makes a message that the transport refuses. The end of a detail says most. */
export function writeFailure(failure: Failure): Failure {
  return {
    code: failure.code,
    message: failure.message.slice(0, limits.failureMessageCharsMax),
    detail: failure.detail.slice(-limits.failureDetailCharsMax),
  };
}
