/** Who asks, as far as access control has told. */
import type { FastifyRequest } from 'fastify';
import { localUser } from '../../common/core/job-origin.ts';

export const roles = ['reader', 'invoker', 'admin'] as const;
/** Each may what those before it may. */
export type Role = (typeof roles)[number];

export interface Caller {
  readonly user: string;
  readonly role: Role;
}

declare module 'fastify' {
  interface FastifyRequest {
    caller?: Caller;
  }
}

const localCaller: Caller = { user: localUser, role: 'admin' };

export function callerOf(request: FastifyRequest): Caller {
  return request.caller ?? localCaller;
}
