/** Streams of bulk bytes between worker nodes and the coordinator, with the pauses that keep memory bounded. */
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { BatchError } from '../../common/core/batch-error.ts';
import { jobName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { LogPiece__Output } from '../../common/rpc/generated/batchmill/v1/LogPiece.ts';
import type { LogReply } from '../../common/rpc/generated/batchmill/v1/LogReply.ts';
import type { Piece } from '../../common/rpc/generated/batchmill/v1/Piece.ts';
import type { UploadPiece__Output } from '../../common/rpc/generated/batchmill/v1/UploadPiece.ts';
import type { UploadReply } from '../../common/rpc/generated/batchmill/v1/UploadReply.ts';
import { grpcError } from '../../common/rpc/grpc-error.ts';
import { readToken } from '../../common/rpc/translate.ts';
import { writeRefusal } from '../../common/rpc/translate-coordinator-message.ts';
import type { ClusterBackend } from './cluster-server.ts';
import { understood } from './understood.ts';

/** Pieces are dealt with one after the other; credit goes back as their bytes find their place. */
export function serveUpload(
  call: ServerDuplexStream<UploadPiece__Output, UploadReply>,
  node: NodeName,
  backend: ClusterBackend,
): void {
  let queue = Promise.resolve();
  let underWayBytes = 0;
  let isOpen = true;
  const reply = (message: UploadReply): void => {
    if (isOpen) call.write(message);
  };
  const fail = (error: unknown): void => {
    if (!isOpen) return;
    isOpen = false;
    call.emit('error', grpcError(error));
  };
  const take = async (given: UploadPiece__Output): Promise<void> => {
    const wire = understood(given);
    const piece = { token: readToken(wire.token), offset: wire.offset, totalBytes: wire.totalBytes, data: wire.data };
    const freed = (): void => {
      underWayBytes -= piece.data.length;
      reply({ creditBytes: piece.data.length });
    };
    try {
      const progress = await backend.uploadPiece(node, piece);
      if (progress.isComplete) reply({ received: piece.token });
      void progress.freed.then(freed);
    } catch (error) {
      if (!(error instanceof BatchError) || error.code !== 'LEASE_STALE') throw error;
      reply({ refused: writeRefusal({ token: piece.token, failure: error.toFailure() }) });
      freed();
    }
  };
  call.on('data', (wire: UploadPiece__Output) => {
    // One that cannot be read has none; it is refused in its turn.
    underWayBytes += wire instanceof BatchError ? 0 : wire.data.length;
    if (underWayBytes > limits.uploadCreditBytes) {
      return fail(
        new BatchError(
          'CREDIT_EXCEEDED',
          `${underWayBytes} bytes are under way, ${limits.uploadCreditBytes} are allowed`,
        ),
      );
    }
    queue = queue.then(() => take(wire)).catch(fail);
  });
  call.on('end', () => {
    void queue.then(() => {
      isOpen = false;
      call.end();
    });
  });
  for (const event of ['cancelled', 'error', 'close']) call.on(event, () => (isOpen = false));
}

/** Each piece is answered with what is here of its file; a node sends the next one then. */
export function serveLogs(
  call: ServerDuplexStream<LogPiece__Output, LogReply>,
  node: NodeName,
  backend: ClusterBackend,
): void {
  let queue = Promise.resolve();
  let isOpen = true;
  const take = async (wire: LogPiece__Output): Promise<void> => {
    if (!isOpen) return;
    const { job, name, offset, data } = understood(wire);
    const received = await backend.logPiece(node, { job: jobName(job), name, offset, data });
    if (isOpen) call.write({ job, name, received });
  };
  const fail = (error: unknown): void => {
    if (!isOpen) return;
    isOpen = false;
    call.emit('error', grpcError(error));
  };
  call.on('data', (wire: LogPiece__Output) => {
    // A node that does not wait for its answers does not fill our memory.
    call.pause();
    queue = queue
      .then(() => take(wire))
      .catch(fail)
      .finally(() => call.resume());
  });
  call.on('end', () => {
    void queue.then(() => {
      isOpen = false;
      call.end();
    });
  });
  for (const event of ['cancelled', 'error', 'close']) call.on(event, () => (isOpen = false));
}

export async function sendPieces<Request>(
  call: ServerWritableStream<Request, Piece>,
  open: () => AsyncIterable<Uint8Array>,
): Promise<void> {
  try {
    for await (const data of open()) {
      if (call.cancelled) return;
      if (!call.write({ data })) await writable(call);
    }
    call.end();
  } catch (error) {
    call.emit('error', grpcError(error));
  }
}

/** Resolves when the stream takes more, or will never again. */
function writable<Request>(call: ServerWritableStream<Request, Piece>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done);
      call.off('cancelled', done);
      call.off('close', done);
      resolve();
    };
    call.on('drain', done);
    call.on('cancelled', done);
    call.on('close', done);
  });
}
