/**
 * Requests that are no message of the protocol. The transport would answer them as a defect of ours (INTERNAL); here they come to the
 * handler as an error instead, which {@link understood} throws.
 */
import type { ServiceDefinition } from '@grpc/grpc-js';
import { BatchError } from '../../common/core/batch-error.ts';
import { reasonOf } from '../../common/io/errno.ts';

export function tolerantService<S extends ServiceDefinition>(service: S): S {
  const methods = Object.entries(service).map(([name, method]) => {
    const read = method.requestDeserialize;
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        return read(bytes) as unknown;
      } catch (error) {
        return new BatchError(
          'REQUEST_INVALID',
          `the bytes of a ${name} request are no such message: ${reasonOf(error)}`,
        );
      }
    };
    return [name, { ...method, requestDeserialize }] as const;
  });
  return Object.fromEntries(methods) as unknown as S;
}

/** @throws REQUEST_INVALID for what {@link tolerantService} could not read */
export function understood<T>(message: T): T {
  if (message instanceof BatchError) throw message;
  return message;
}
