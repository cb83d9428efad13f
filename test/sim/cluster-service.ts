/**
 * The coordinator's end of each call, as the gRPC service has it: sessions and streams, no decisions. Messages arrive as
 * they were sent, since the wire's translation neither adds nor drops anything.
 */
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import type { CoordinatorMessage, JoinReply, JoinRequest, NodeMessage } from '../../common/core/cluster-messages.ts';
import type { JobName, NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { errnoOf } from '../../common/io/errno.ts';
import type { ClusterBackend, UploadedPiece } from '../../coordinator/service/cluster-server.ts';
import { NodeLink } from '../../coordinator/service/node-link.ts';
import type { Connection } from './connection.ts';

/** Calls Join; `onReply` hears the answer unless the connection ends before. */
export function callJoin(
  connection: Connection,
  request: JoinRequest,
  onReply: (reply: JoinReply | BatchError) => void,
): void {
  connection.toCoordinator((backend) => {
    const reply = refusalOr(() => backend.join(request, null));
    connection.toNode(() => onReply(reply));
  });
}

/** The node's end of a call: what it writes there. False when it should pause. */
export type Write<Message> = (message: Message) => boolean;

export interface ReportMessage {
  readonly message: NodeMessage;
  /** Bytes of `message.results`, by place. */
  readonly inline: readonly Uint8Array[];
}

/** Opens the Work stream of a session. */
export function callWork(
  connection: Connection,
  session: string,
  onMessage: (message: CoordinatorMessage) => void,
): Write<ReportMessage> {
  let link: NodeLink | null = null;
  connection.toCoordinator((backend) => {
    const node = refusalOr(() => backend.nodeOfSession(session));
    if (node instanceof BatchError) return connection.endByCoordinator(node);
    link = serveWork(connection, node, backend, onMessage);
  });
  return ({ message, inline }) =>
    connection.toCoordinator((backend) => {
      if (link) backend.receive(link, message, inline);
    });
}

function serveWork(
  connection: Connection,
  node: NodeName,
  backend: ClusterBackend,
  onMessage: (message: CoordinatorMessage) => void,
): NodeLink {
  const ended = new BatchError('COORDINATOR_UNREACHABLE', 'the coordinator has ended the connection');
  const link = new NodeLink({
    node,
    write: (message) => connection.toNode(() => onMessage(message)),
    end: () => connection.endByCoordinator(ended),
  });
  connection.onDrained('to-node', () => link.resume());
  connection.onCoordinatorLost(() => {
    backend.disconnected(link);
    link.close();
  });
  return link;
}

export interface UploadAnswer {
  readonly creditBytes: number;
  readonly received: Token | null;
  readonly refused: { readonly token: Token; readonly error: BatchError } | null;
}

const noAnswer: UploadAnswer = { creditBytes: 0, received: null, refused: null };

/** Opens an Upload stream of a session. */
export function callUpload(
  connection: Connection,
  session: string,
  onAnswer: (answer: UploadAnswer) => void,
): Write<UploadedPiece> {
  let take: ((piece: UploadedPiece) => void) | null = null;
  connection.toCoordinator((backend) => {
    const node = refusalOr(() => backend.nodeOfSession(session));
    if (node instanceof BatchError) return connection.endByCoordinator(node);
    take = serveUpload(connection, node, backend, onAnswer);
  });
  return (piece) => connection.toCoordinator(() => take?.(piece));
}

/** Pieces are dealt with one after the other; credit goes back as their bytes find their place. */
function serveUpload(
  connection: Connection,
  node: NodeName,
  backend: ClusterBackend,
  onAnswer: (answer: UploadAnswer) => void,
): (piece: UploadedPiece) => void {
  let queue = Promise.resolve();
  let underWayBytes = 0;
  let isFailed = false;
  const reply = (answer: Partial<UploadAnswer>): void => {
    if (!isFailed) connection.toNode(() => onAnswer({ ...noAnswer, ...answer }));
  };
  const fail = (error: unknown): void => {
    // What no system call has said is a defect, and ends the simulation.
    if (!(error instanceof BatchError) && errnoOf(error) === '') throw error;
    if (isFailed) return;
    isFailed = true;
    connection.endByCoordinator(toBatchError(error));
  };
  const take = async (piece: UploadedPiece): Promise<void> => {
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
      reply({ refused: { token: piece.token, error } });
      freed();
    }
  };
  return (piece) => {
    underWayBytes += piece.data.length;
    if (underWayBytes > limits.uploadCreditBytes) {
      const text = `${underWayBytes} bytes are under way, ${limits.uploadCreditBytes} are allowed`;
      return fail(new BatchError('CREDIT_EXCEEDED', text));
    }
    queue = queue.then(() => take(piece)).catch(fail);
  };
}

export interface FetchRequest {
  readonly job: JobName;
  readonly ordinal: number;
  readonly identity: string;
  readonly offset: number;
}

/** Opens a FetchInput stream of a session; `onPiece` hears null after the last piece. */
export function callFetchInput(
  connection: Connection,
  session: string,
  { job, ordinal, identity, offset }: FetchRequest,
  onPiece: (piece: Uint8Array | null) => void,
): void {
  connection.toCoordinator((backend) => {
    const node = refusalOr(() => backend.nodeOfSession(session));
    if (node instanceof BatchError) return connection.endByCoordinator(node);
    void sendPieces(connection, () => backend.input(job, ordinal, identity, { offset, end: null }), onPiece);
  });
}

async function sendPieces(
  connection: Connection,
  open: () => AsyncIterable<Uint8Array>,
  onPiece: (piece: Uint8Array | null) => void,
): Promise<void> {
  let isOver = false;
  let goOn = (): void => undefined;
  connection.onDrained('to-node', () => goOn());
  connection.onCoordinatorLost(() => {
    isOver = true;
    goOn();
  });
  try {
    for await (const data of open()) {
      if (isOver) return;
      if (!connection.toNode(() => onPiece(data))) await new Promise<void>((resolve) => (goOn = resolve));
    }
    connection.toNode(() => onPiece(null));
  } catch (error) {
    // What no system call has said is a defect, and ends the simulation.
    if (!(error instanceof BatchError) && errnoOf(error) === '') throw error;
    connection.endByCoordinator(toBatchError(error));
  }
}

/** What is no refusal is a defect, and ends the simulation. */
function refusalOr<T>(call: () => T): T | BatchError {
  try {
    return call();
  } catch (error) {
    if (error instanceof BatchError) return error;
    throw error;
  }
}
