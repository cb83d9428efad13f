/**
 * A simulated worker node's control connection: Join, then the Work stream. Each object is one try, as in the real node:
 * when it has failed or is closed it says nothing more.
 */
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import type { CoordinatorMessage, JoinReply, JoinRequest } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import { callJoin, callWork, type ReportMessage, type Write } from './cluster-service.ts';
import type { Connection, NodeEnd } from './connection.ts';
import type { SimNetwork } from './network.ts';

export interface ControlChannelOptions {
  readonly network: SimNetwork;
  readonly node: NodeEnd;
  readonly request: JoinRequest;
  /** Milliseconds of the node's own clock. */
  readonly later: (delayMs: number, what: () => void) => void;
  readonly onJoined: (reply: JoinReply) => void;
  /** The last word: Join failed, or the stream has ended. */
  readonly onLost: (failure: Failure) => void;
  readonly onMessage: (message: CoordinatorMessage) => void;
  readonly onWritable: () => void;
}

export class ControlChannel {
  readonly #options: ControlChannelOptions;
  readonly #connection: Connection;
  #write: Write<ReportMessage> | null = null;
  #isWritable = true;
  #isOver = false;
  #onEnded: () => void = () => undefined;

  constructor(options: ControlChannelOptions) {
    this.#options = options;
    this.#connection = options.network.connect(options.node, 'control', (error) => this.#ended(error));
    this.#connection.onDrained('to-coordinator', () => {
      this.#isWritable = true;
      if (!this.#isOver) options.onWritable();
    });
  }

  get isWritable(): boolean {
    return this.#isWritable;
  }

  /** Its Work stream is open, as far as the node knows. */
  get isOpen(): boolean {
    return !this.#isOver && this.#write !== null;
  }

  join(): void {
    const { request, later, onJoined } = this.#options;
    let isAnswered = false;
    callJoin(this.#connection, request, (reply) => {
      if (this.#isOver || isAnswered) return;
      isAnswered = true;
      if (reply instanceof BatchError) this.#lose(reply);
      else onJoined(reply);
    });
    later(limits.joinCallMsMax, () => {
      if (!isAnswered) this.#lose(new BatchError('COORDINATOR_UNREACHABLE', 'no answer to Join'));
    });
  }

  /** Opens the Work stream of the session that Join gave. */
  open(session: string): void {
    this.#write = callWork(this.#connection, session, (message) => {
      if (!this.#isOver) this.#options.onMessage(message);
    });
  }

  send(report: ReportMessage): void {
    if (!this.#isOver && this.#write) this.#isWritable = this.#write(report);
  }

  /** Nothing more is said; `done` follows when the coordinator has read it all, or after a while. */
  end(done: () => void): void {
    let isDone = false;
    const finish = (): void => {
      if (isDone) return;
      isDone = true;
      this.close();
      done();
    };
    if (!this.isOpen) return finish();
    this.#isOver = true;
    this.#onEnded = finish;
    // The end of the stream is the last message on it, which the coordinator answers with its own.
    this.#connection.endByNode();
    this.#options.later(limits.leaveMsMax, finish);
  }

  close(): void {
    this.#isOver = true;
    this.#connection.closeByNode();
  }

  #ended(error: BatchError): void {
    this.#onEnded();
    this.#lose(error);
  }

  #lose(error: BatchError): void {
    if (this.#isOver) return;
    this.close();
    this.#options.onLost(error.toFailure());
  }
}
