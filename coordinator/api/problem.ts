/** Errors as HTTP callers see them: RFC 9457 problem details with our code. */
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { errorRule, isErrorCode, type ErrorCode } from '../../common/core/error-codes.ts';

/** @source RFC 9457; `code`, `help`, `info` and `is_retryable` are ours */
export interface Problem {
  readonly type: string;
  /** What the code means, the same for all problems of it. */
  readonly title: string;
  readonly status: number;
  /** What was wanted, what was found, what to do. */
  readonly detail: string;
  readonly code: ErrorCode;
  /** A traceback or the end of stderr; absent when there is none. */
  readonly info?: string;
  readonly is_retryable: boolean;
}

/** Not an enumeration in the document: a client that knows only today's codes would break at a new one. */
export const errorCodeSchema: z.ZodType<ErrorCode> = z
  .custom<ErrorCode>((value) => typeof value === 'string' && isErrorCode(value))
  .meta({ type: 'string', description: 'one of the codes in docs/errors.md', examples: ['INPUT_NOT_FOUND'] });

export const problemSchema: z.ZodType<Problem> = z
  .object({
    type: z.string().describe('URN of the code'),
    title: z.string().describe('what the code means'),
    status: z.int(),
    detail: z.string().describe('what was wanted, what was found, what to do'),
    code: errorCodeSchema,
    info: z.exactOptional(z.string()).describe('a traceback or the end of stderr'),
    is_retryable: z.boolean().describe('whether the same request may succeed later'),
  })
  .meta({ id: 'Problem' });

/** `status` overrides that of the code, for refusals that HTTP has a number of its own for. */
export function problemOf(error: BatchError, status: number = error.rule.http): Problem {
  return {
    type: `urn:batchmill:error:${error.code}`,
    title: errorRule(error.code).help,
    status,
    detail: error.message,
    code: error.code,
    ...(error.detail === '' ? {} : { info: error.detail }),
    is_retryable: error.rule.isRetryable,
  };
}

/** Turns whatever a handler throws into a problem. What is no {@link BatchError} is a defect and is told to `onDefect` too. */
export function handleProblems(app: FastifyInstance, onDefect: (error: unknown) => void): void {
  app.setErrorHandler((error: FastifyError | BatchError, _request, reply) => {
    if (error instanceof BatchError) return sendProblem(reply, problemOf(error));
    const status = 'statusCode' in error ? (error.statusCode ?? 500) : 500;
    if (status < 500) return sendProblem(reply, problemOf(new BatchError('REQUEST_INVALID', error.message), status));
    onDefect(error);
    return sendProblem(reply, problemOf(new BatchError('INTERNAL', error.message)));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new BatchError('REQUEST_INVALID', `there is no ${request.method} ${request.url.split('?')[0] ?? ''}`);
    return sendProblem(reply, problemOf(error, 404));
  });
}

export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply.code(problem.status).type('application/problem+json').send(problem);
}
