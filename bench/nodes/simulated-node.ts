/** A worker node that scores nothing: one lease at a time, a heartbeat in its time, and the reconnects of a real one. */
import { crc32 } from 'node:zlib';
import { emptyNodeMessage, type Grant, type NodeMessage } from '../../common/core/cluster-messages.ts';
import { incarnation, monotonicMs, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { systemClock } from '../../common/io/clock.ts';
import { packageRelease } from '../../common/io/package-files.ts';
import type { ClusterTrust } from '../../common/rpc/credentials.ts';
import { ControlLink } from '../../worker/control-link.ts';
import { reconnectAt } from '../../worker/core/backoff.ts';

/** A heartbeat that was not answered by then came late. */
export const lateMs = 1_000;

const rows = Buffer.from('x\n');

/** What all nodes have met with. */
export interface Tally {
  leaseMs: number[];
  ackMs: number[];
  heartbeatsSent: number;
  scored: number;
  /** Joins and connections that were lost, and tried again. */
  lost: number;
  firstLost: string | null;
}

export function newTally(): Tally {
  return { leaseMs: [], ackMs: [], heartbeatsSent: 0, scored: 0, lost: 0, firstLost: null };
}

export interface SimulatedNodeOptions {
  readonly name: string;
  readonly address: string;
  readonly trust: () => ClusterTrust;
  readonly joinToken: string;
  readonly scoreMs: number;
  readonly tally: () => Tally;
}

export class SimulatedNode {
  readonly #options: SimulatedNodeOptions;
  #link: ControlLink;
  #isClosed = false;
  #held: Token[] = [];
  #askedAt = 0;
  #beats = 0;
  #beatAt = 0;
  #failed = 0;
  #timer: NodeJS.Timeout | null = null;
  /** Monotonic; of the present session. */
  joinedAt: number | null = null;
  readonly joined: Promise<void>;
  #onJoined: () => void = () => undefined;

  constructor(options: SimulatedNodeOptions) {
    this.#options = options;
    this.joined = new Promise((resolve) => (this.#onJoined = resolve));
    this.#link = this.#connect();
    this.#link.join();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer) clearInterval(this.#timer);
    this.#link.close();
  }

  #connect(): ControlLink {
    const { name, address, trust, joinToken } = this.#options;
    const request = {
      ...{ protocol: limits.protocolVersion, release: packageRelease(), joinToken, name: nodeName(name) },
      ...{ incarnation: incarnation(`${name}-1`), slots: 1, hostname: name, pid: 1, labels: {} },
      answersDiagnose: false,
    };
    return new ControlLink({
      ...{ address, trust, request, clock: systemClock },
      onJoined: (reply) => {
        this.#link.open(reply.session);
        this.#say({ hello: [], want: 1 });
        this.#timer = setInterval(() => this.#beat(), reply.heartbeatMs);
        this.joinedAt = systemClock.monotonic();
        this.#failed = 0;
        this.#onJoined();
      },
      onLost: ({ code, message }) => this.#lose(`${name}: ${code} ${message}`),
      onMessage: ({ grants, committed, heartbeatAck }) => {
        if (heartbeatAck > 0) this.#options.tally().ackMs.push(systemClock.monotonic() - this.#beatAt);
        for (const token of committed) this.#held = this.#held.filter(({ counter }) => counter !== token.counter);
        for (const grant of grants) this.#take(grant);
      },
      onWritable: () => undefined,
      inlineOf: () => rows,
    });
  }

  #lose(why: string): void {
    if (this.#isClosed) return;
    const tally = this.#options.tally();
    tally.lost += 1;
    tally.firstLost ??= why;
    if (this.#timer) clearInterval(this.#timer);
    this.#held = [];
    this.joinedAt = null;
    this.#failed += 1;
    const now = systemClock.monotonic();
    setTimeout(
      () => {
        if (this.#isClosed) return;
        this.#link = this.#connect();
        this.#link.join();
      },
      reconnectAt(monotonicMs(now), this.#failed, Math.random()) - now,
    );
  }

  #take({ token }: Grant): void {
    this.#options.tally().leaseMs.push(systemClock.monotonic() - this.#askedAt);
    this.#held.push(token);
    // Spread, so that nodes do not come in step.
    setTimeout(() => this.#report(token), this.#options.scoreMs * (0.5 + Math.random()));
  }

  #report(token: Token): void {
    // Lost meanwhile, with its connection.
    if (!this.#held.includes(token)) return;
    this.#options.tally().scored += 1;
    const summary = {
      ...{ rows: 1, attribution: 'file' as const, fileRows: [1], failed: [] },
      ...{ schema: { columns: ['x:utf8'], prologue: '' }, runSeconds: 0.001, peakMemoryBytes: null },
    };
    const parts = { bytes: rows.length, crc32: crc32(rows), customBytes: 0, customCrc32: 0, isUploaded: false };
    this.#say({ want: 1, results: [{ token, summary, ...parts }] });
  }

  #beat(): void {
    this.#beats += 1;
    this.#beatAt = systemClock.monotonic();
    this.#options.tally().heartbeatsSent += 1;
    this.#link.send({
      ...emptyNodeMessage,
      heartbeat: { sequence: this.#beats, held: this.#held, slotsBusy: this.#held.length, rssBytes: 1 },
    });
  }

  #say(message: Partial<NodeMessage>): void {
    this.#askedAt = systemClock.monotonic();
    this.#link.send({ ...emptyNodeMessage, ...message });
  }
}
