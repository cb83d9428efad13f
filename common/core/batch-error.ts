import { errorRule, isErrorCode, type ErrorCode, type ErrorRule } from './error-codes.ts';

/** A failure as plain data: what crosses the wire, the journal and `_errors.jsonl`. */
export interface Failure {
  readonly code: ErrorCode;
  /** What was wanted, what was found, what to do. */
  readonly message: string;
  /** Supporting text of any length: a traceback, the end of stderr. Empty when there is none. */
  readonly detail: string;
}

/** The one error class for what can go wrong outside of our own logic; the code decides how it is handled. */
export class BatchError extends Error {
  override readonly name = 'BatchError';
  readonly code: ErrorCode;
  readonly detail: string;

  constructor(code: ErrorCode, message: string, options: { readonly cause?: unknown; readonly detail?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail ?? '';
  }

  get rule(): ErrorRule {
    return errorRule(this.code);
  }

  toFailure(): Failure {
    return { code: this.code, message: this.message, detail: this.detail };
  }

  /** The inverse of {@link toFailure}; a code that this release does not know becomes INTERNAL and stays in the text. */
  static fromFailure(failure: {
    readonly code: string;
    readonly message: string;
    readonly detail?: string;
  }): BatchError {
    const detail = failure.detail ?? '';
    return isErrorCode(failure.code)
      ? new BatchError(failure.code, failure.message, { detail })
      : new BatchError('INTERNAL', `${failure.code}: ${failure.message}`, { detail });
  }
}

/** Whether something that was thrown has one of these codes. */
export function isBatchError(error: unknown, ...codes: readonly ErrorCode[]): error is BatchError {
  return error instanceof BatchError && codes.includes(error.code);
}

/** Wraps whatever was thrown; a {@link BatchError} stays as it is. */
export function toBatchError(error: unknown, code: ErrorCode = 'INTERNAL'): BatchError {
  if (error instanceof BatchError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const detail = error instanceof Error ? (error.stack ?? '') : '';
  return new BatchError(code, text, { cause: error, detail });
}
