/** A coordinator's process that does what a test says and remembers what it was told: for tests of network and nodes. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { JoinReply, JoinRequest, NodeMessage } from '../../common/core/cluster-messages.ts';
import { type JobName, nodeName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { formatToken } from '../../common/core/token.ts';
import type { ClusterBackend, UploadedPiece, UploadProgress } from '../../coordinator/service/cluster-server.ts';
import type { NodeLink } from '../../coordinator/service/node-link.ts';
import type { InputRange } from '../../coordinator/service/read-input.ts';
import type { CoordinatorPort } from './coordinator-port.ts';
import type { World } from './world.ts';

export interface Received {
  readonly at: number;
  readonly link: NodeLink;
  readonly message: NodeMessage;
  readonly inline: readonly Uint8Array[];
}

export class ScriptedCoordinator implements CoordinatorPort, ClusterBackend {
  isUp = true;
  isInitialised: () => boolean = () => true;
  readonly joins: JoinRequest[] = [];
  readonly received: Received[] = [];
  readonly links: NodeLink[] = [];
  /** When each stream that it served has ended. */
  readonly disconnectedAt: number[] = [];
  /** Complete results and the pieces of the others, by token. */
  readonly uploads: Map<string, Buffer> = new Map();
  /** The most bytes of pieces that were held at once. */
  heldBytesMax = 0;
  heldBytes = 0;
  joinError: BatchError | null = null;
  uploadError: BatchError | null = null;
  /** How long a piece takes to find its place, when its credit goes back. */
  placeMs = 5;
  /** Each call of FetchInput. */
  readonly asked: { readonly ordinal: number; readonly identity: string; readonly offset: number }[] = [];
  /** Gives a file from an offset on. */
  onInput: (offset: number) => AsyncIterable<Uint8Array> = () => {
    throw new BatchError('REQUEST_INVALID', 'nothing is fetched here');
  };
  onPiece: () => void = () => undefined;
  onReceive: (link: NodeLink, message: NodeMessage) => void = () => undefined;
  readonly #world: World;
  readonly #sessions = new Map<string, NodeName>();
  #stalledUntil = 0;
  #backlog: (() => void)[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  arrive(what: (backend: ClusterBackend) => void): void {
    if (!this.isUp) return;
    if (this.#stalledUntil <= this.#world.now && this.#backlog.length === 0) what(this);
    else this.#backlog.push(() => what(this));
  }

  stall(ms: number): void {
    this.#stalledUntil = this.#world.now + ms;
    this.#world.after(ms, () => {
      for (const what of this.#backlog.splice(0)) what();
    });
  }

  kill(): void {
    this.isUp = false;
    this.#backlog = [];
    this.#sessions.clear();
    this.links.length = 0;
  }

  join(request: JoinRequest): JoinReply {
    if (this.joinError) throw this.joinError;
    this.joins.push(request);
    const session = `session-${this.joins.length}`;
    this.#sessions.set(session, nodeName(request.name));
    return {
      protocol: limits.protocolVersion,
      release: 'sim',
      session,
      epoch: 1,
      heartbeatMs: limits.heartbeatMsMin,
      leaseMs: limits.heartbeatMsMin * limits.heartbeatsPerLease,
      uploadCreditBytes: limits.uploadCreditBytes,
    };
  }

  nodeOfSession(session: string): NodeName {
    const node = this.#sessions.get(session);
    if (node !== undefined) return node;
    throw new BatchError('SESSION_UNKNOWN', 'this session is not known here');
  }

  receive(link: NodeLink, message: NodeMessage, inline: readonly Uint8Array[]): void {
    if (!this.links.includes(link)) this.links.push(link);
    this.received.push({ at: this.#world.now, link, message, inline });
    this.onReceive(link, message);
    if (message.heartbeat) link.send({ heartbeatAck: message.heartbeat.sequence });
  }

  disconnected(link: NodeLink): void {
    this.disconnectedAt.push(this.#world.now);
    if (this.links.includes(link)) this.links.splice(this.links.indexOf(link), 1);
  }

  async uploadPiece(_node: NodeName, piece: UploadedPiece): Promise<UploadProgress> {
    if (this.uploadError) throw this.uploadError;
    const key = formatToken(piece.token);
    const before = piece.offset === 0 ? Buffer.alloc(0) : (this.uploads.get(key) ?? Buffer.alloc(0));
    if (before.length !== piece.offset) throw new BatchError('REQUEST_INVALID', `a piece at ${piece.offset}`);
    this.uploads.set(key, Buffer.concat([before, piece.data]));
    this.heldBytes += piece.data.length;
    this.heldBytesMax = Math.max(this.heldBytesMax, this.heldBytes);
    this.onPiece();
    const freed = new Promise<void>((resolve) => {
      this.#world.after(this.placeMs, () => {
        this.heldBytes -= piece.data.length;
        this.#world.touch();
        resolve();
      });
    });
    return Promise.resolve({ isComplete: before.length + piece.data.length === piece.totalBytes, freed });
  }

  logPiece(): Promise<number> {
    throw new BatchError('REQUEST_INVALID', 'no logs are sent here');
  }

  artifact(): AsyncIterable<Uint8Array> {
    throw new BatchError('REQUEST_INVALID', 'nothing is fetched here');
  }

  input(_job: JobName, ordinal: number, identity: string, { offset }: InputRange): AsyncIterable<Uint8Array> {
    this.asked.push({ ordinal, identity, offset });
    return this.onInput(offset);
  }
}
