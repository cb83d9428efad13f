/**
 * Errors across the wire: a {@link BatchError} travels as a gRPC status whose trailing metadata carries its code, message
 * and detail, and comes out as the same error. A status without that metadata was made by the transport.
 */
import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { BatchError, toBatchError } from '../core/batch-error.ts';
import type { ErrorCode } from '../core/error-codes.ts';
import { limits } from '../core/limits.ts';

/** Metadata of every call after Join. */
export const sessionKey = 'batchmill-session';
/** Trailing metadata; the ending makes gRPC carry bytes, so that any text fits. */
export const errorKey = 'batchmill-error-bin';

/** What a handler gives its callback, or emits as 'error', to end a call with `error`. */
export function grpcError(error: unknown): Partial<StatusObject> & Error {
  const { code, message, detail, rule } = toBatchError(error);
  const text = message.slice(0, limits.failureMessageCharsMax);
  const metadata = new Metadata();
  // Headers of HTTP/2 are bounded, 16 KiB in all with many peers: the end of a long detail goes.
  const carried = { code, message: text, detail: detail.slice(0, limits.failureMessageCharsMax) };
  metadata.set(errorKey, Buffer.from(JSON.stringify(carried)));
  return Object.assign(new Error(text), { code: rule.grpc as status, details: asciiOf(text), metadata });
}

/** grpc-message is percent-encoded, three characters for each that is not ASCII; the whole text is in the metadata. */
function asciiOf(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 1_000);
}

/** The error behind a failed call to `address`. */
export function fromGrpcError(error: unknown, address: string): BatchError {
  if (!isServiceError(error)) return toBatchError(error);
  return fromMetadata(error) ?? fromStatus(error, address);
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && typeof error.code === 'number';
}

function fromMetadata(error: ServiceError): BatchError | undefined {
  const value = error.metadata?.get(errorKey)[0];
  if (!Buffer.isBuffer(value)) return undefined;
  const carried = parseCarried(value.toString());
  return carried && BatchError.fromFailure(carried);
}

/** A peer that is not ours may use the same key for something else. */
function parseCarried(text: string): { code: string; message: string; detail: string } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { code, message, detail } = value as Record<string, unknown>;
  if (typeof code !== 'string' || typeof message !== 'string') return undefined;
  return { code, message, detail: typeof detail === 'string' ? detail : '' };
}

function fromStatus(error: ServiceError, address: string): BatchError {
  const code = transportCodes[error.code] ?? 'INTERNAL';
  return new BatchError(code, transportMessage(code, error, address), { cause: error });
}

/** What a status means that the other side did not make on purpose. */
const transportCodes: Readonly<Partial<Record<status, ErrorCode>>> = {
  [status.CANCELLED]: 'COORDINATOR_UNREACHABLE',
  [status.DEADLINE_EXCEEDED]: 'COORDINATOR_UNREACHABLE',
  [status.UNAVAILABLE]: 'COORDINATOR_UNREACHABLE',
  // A stream that is reset while the connection goes down.
  [status.INTERNAL]: 'COORDINATOR_UNREACHABLE',
  [status.UNIMPLEMENTED]: 'PROTOCOL_MISMATCH',
};

function transportMessage(code: ErrorCode, error: ServiceError, address: string): string {
  if (code === 'COORDINATOR_UNREACHABLE')
    return `no answer from a coordinator at ${address}: ${error.details.replace(/\s*Resolution note:\s*$/, '')}`;
  if (code === 'PROTOCOL_MISMATCH') {
    return `${address} answers, but not as a Batchmill coordinator of this protocol: ${error.details}`;
  }
  return `the call to ${address} failed: ${error.details}`;
}
