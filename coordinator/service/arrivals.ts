/**
 * Connections that have come and are not served yet: a few are let in per turn of the event loop, in order. When a thousand
 * worker nodes come at once, the first of them are done with handshake and first call while the last ones wait; all at
 * once they would all be done at the end, and too late for each of them.
 */
import type { Socket } from 'node:net';
import { limits } from '../../common/core/limits.ts';

export interface ArrivalsOptions {
  readonly onAdmitted: (socket: Socket) => void;
  readonly now: () => number;
  /** Calls back in the event loop's next turn. */
  readonly nextTurn: (then: () => void) => void;
}

export class Arrivals {
  readonly #options: ArrivalsOptions;
  readonly #waiting: { readonly socket: Socket; readonly sinceMs: number }[] = [];
  /** Waiters before it are gone; cut off now and then. */
  #first = 0;
  #isTurning = false;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length - this.#first;
  }

  /** `socket`: paused, so that nothing of it is read before its turn. */
  add(socket: Socket): void {
    // It may be reset while it waits.
    socket.on('error', () => socket.destroy());
    this.#waiting.push({ socket, sinceMs: this.#options.now() });
    if (!this.#isTurning) this.#turn();
  }

  close(): void {
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
    this.#first = 0;
  }

  #turn(): void {
    const { onAdmitted, now, nextTurn } = this.#options;
    let admitted = 0;
    while (this.waiting > 0 && admitted < limits.arrivalsPerTurn) {
      const next = this.#waiting[this.#first];
      this.#first += 1;
      if (!next || next.socket.destroyed) continue;
      // Who called has given up by now, which a paused socket does not tell; a handshake would be for nobody.
      if (now() - next.sinceMs > limits.arrivalMsMax) {
        next.socket.destroy();
        continue;
      }
      admitted += 1;
      onAdmitted(next.socket);
    }
    if (this.#first > this.#waiting.length / 2) {
      this.#waiting.splice(0, this.#first);
      this.#first = 0;
    }
    this.#isTurning = this.waiting > 0 || admitted > 0;
    if (this.#isTurning) nextTurn(() => this.#turn());
  }
}
