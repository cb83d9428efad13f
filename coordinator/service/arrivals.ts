/**
 * Connections that have come and are not served yet: a few are let in per turn of the event loop, those that came last
 * first. When a thousand worker nodes come at once, each that is let in has its whole patience before it and is done with
 * handshake and first call in time; in the order in which they came, each would be let in as it is about to give up.
 * Those who wait longest give up, come again and are the first ones then. What a caller says meanwhile is read and
 * kept: only so is it noticed that he has gone, and a handshake would be for nobody.
 */
import type { Socket } from 'node:net';
import { limits } from '../../common/core/limits.ts';

export interface ArrivalsOptions {
  /** `socket`: paused, with what has been read of it put back. */
  readonly onAdmitted: (socket: Socket) => void;
  readonly now: () => number;
  /** Calls back in the event loop's next turn. */
  readonly nextTurn: (then: () => void) => void;
}

interface Waiter {
  readonly socket: Socket;
  readonly sinceMs: number;
  hasGone: boolean;
  /** Gives the socket back as it came. */
  release: () => void;
}

export class Arrivals {
  readonly #options: ArrivalsOptions;
  /** Who came last is last; with some who have gone. */
  #stack: Waiter[] = [];
  #gone = 0;
  #isTurning = false;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#stack.length - this.#gone;
  }

  add(socket: Socket): void {
    // It may be reset at any time.
    socket.on('error', () => socket.destroy());
    const waiter = { socket, sinceMs: this.#options.now(), hasGone: false, release: (): void => undefined };
    this.#watch(waiter);
    this.#stack.push(waiter);
    if (!this.#isTurning) this.#turn();
  }

  close(): void {
    for (const { socket } of this.#stack.splice(0)) socket.destroy();
    this.#gone = 0;
  }

  /** Reads what comes, and notices the end. */
  #watch(waiter: Waiter): void {
    const { socket } = waiter;
    const said: Buffer[] = [];
    let saidBytes = 0;
    const hear = (piece: Buffer): void => {
      said.push(piece);
      saidBytes += piece.length;
      // Nobody who means well says so much before he is answered.
      if (saidBytes > limits.arrivalBytesMax) socket.destroy();
    };
    const end = (): void => void socket.destroy();
    const close = (): void => this.#leave(waiter);
    socket.on('data', hear).on('end', end).on('close', close);
    waiter.release = () => {
      socket.pause();
      socket.off('data', hear).off('end', end).off('close', close);
      if (said.length > 0 && !socket.destroyed) socket.unshift(Buffer.concat(said));
    };
  }

  /** Of a storm of callers that come and go, no more is kept than of those who wait. */
  #leave(waiter: Waiter): void {
    waiter.hasGone = true;
    this.#gone += 1;
    if (this.#gone <= this.#stack.length / 2) return;
    this.#stack = this.#stack.filter(({ hasGone }) => !hasGone);
    this.#gone = 0;
  }

  #turn(): void {
    const { onAdmitted, now, nextTurn } = this.#options;
    let admitted = 0;
    while (admitted < limits.arrivalsPerTurn) {
      const next = this.#stack.pop();
      if (!next) break;
      if (next.hasGone) {
        this.#gone -= 1;
        continue;
      }
      next.release();
      if (next.socket.destroyed) continue;
      // Nobody waits so long; a machine that was switched off does not say that it has gone.
      if (now() - next.sinceMs > limits.arrivalMsMax) {
        next.socket.destroy();
        continue;
      }
      admitted += 1;
      onAdmitted(next.socket);
    }
    this.#isTurning = this.waiting > 0 || admitted > 0;
    if (this.#isTurning) nextTurn(() => this.#turn());
  }
}
