import { Metadata, status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { errorRules, isErrorCode } from '../../common/core/error-codes.ts';
import { InvariantViolation } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { errorKey, fromGrpcError, grpcError } from '../../common/rpc/grpc-error.ts';

/** What a transport would make of a status without our metadata. */
function transportError(code: status, details = 'told by the transport'): Error {
  return Object.assign(new Error(details), { code, details, metadata: new Metadata() });
}

describe('an error across the wire', () => {
  it.each(Object.keys(errorRules).filter(isErrorCode))('%s comes out as it went in', (code) => {
    const sent = grpcError(new BatchError(code, 'wanted ü, found «nothing»\nsee below', { detail: 'Traceback …' }));
    expect(sent.code).toBe(errorRules[code].grpc);
    const read = fromGrpcError(sent, 'host:1');
    expect(read).toBeInstanceOf(BatchError);
    expect(read.toFailure()).toEqual({ code, message: 'wanted ü, found «nothing»\nsee below', detail: 'Traceback …' });
  });

  it('is INTERNAL for what was never meant to be one', () => {
    const read = fromGrpcError(grpcError(new InvariantViolation('slot 3 is taken')), 'host:1');
    expect(read).toMatchObject({ code: 'INTERNAL', message: 'slot 3 is taken' });
  });

  it('has headers that fit and are plain ASCII, however long its texts', () => {
    const sent = grpcError(new BatchError('SCORER_FAILED', 'ü'.repeat(50_000), { detail: 'd'.repeat(1_000_000) }));
    expect(sent.details).toMatch(/^\?{1,1000}$/);
    const [value] = sent.metadata?.get(errorKey) ?? [];
    expect((value as Buffer).length).toBeLessThan(16_384);
    expect(fromGrpcError(sent, 'host:1').message).toHaveLength(limits.failureMessageCharsMax);
  });

  it.each([
    [status.UNAVAILABLE, 'COORDINATOR_UNREACHABLE'],
    [status.DEADLINE_EXCEEDED, 'COORDINATOR_UNREACHABLE'],
    [status.CANCELLED, 'COORDINATOR_UNREACHABLE'],
    [status.INTERNAL, 'COORDINATOR_UNREACHABLE'],
    [status.UNIMPLEMENTED, 'PROTOCOL_MISMATCH'],
    [status.RESOURCE_EXHAUSTED, 'INTERNAL'],
    [status.UNKNOWN, 'INTERNAL'],
  ])('made by the transport with status %i is %s and names the address', (code, expected) => {
    const read = fromGrpcError(transportError(code), 'host:1');
    expect(read.code).toBe(expected);
    expect(read.message).toContain('host:1');
    expect(read.message).toContain('told by the transport');
  });

  it.each(['', 'no JSON', '[]', 'null', '{"code":7}', '{"code":"X"}'])(
    'with metadata %j is the transport’s',
    (text) => {
      const error = transportError(status.UNAVAILABLE);
      (error as { metadata?: Metadata }).metadata?.set(errorKey, Buffer.from(text));
      expect(fromGrpcError(error, 'host:1').code).toBe('COORDINATOR_UNREACHABLE');
    },
  );

  it('of a newer release becomes INTERNAL and keeps its name', () => {
    const error = transportError(status.UNAVAILABLE);
    const text = JSON.stringify({ code: 'QUANTUM_FLUX', message: 'too much', detail: 'd' });
    (error as { metadata?: Metadata }).metadata?.set(errorKey, Buffer.from(text));
    expect(fromGrpcError(error, 'h').toFailure()).toEqual({
      code: 'INTERNAL',
      message: 'QUANTUM_FLUX: too much',
      detail: 'd',
    });
  });

  it('stays what it is when it never was on a wire', () => {
    const error = new BatchError('DISK_FULL', 'no room');
    expect(fromGrpcError(error, 'host:1')).toBe(error);
    expect(fromGrpcError(new TypeError('x is not a function'), 'host:1').code).toBe('INTERNAL');
  });
});
