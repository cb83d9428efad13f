/** A process on a machine of its own: its clock, and what it does later unless it is frozen or killed before. */
import { monotonicMs, type MonotonicMs } from '../../common/core/ids.ts';
import type { World } from './world.ts';

/** No two machines' clocks agree: where one begins, and how fast it goes. */
export interface ClockPlan {
  readonly offsetMs: number;
  /** Its milliseconds per millisecond of the world. */
  readonly rate: number;
}

export class SimProcess {
  readonly #world: World;
  readonly #clock: ClockPlan;
  #life = 0;
  #frozenUntil = 0;

  constructor(world: World, clock: ClockPlan) {
    this.#world = world;
    this.#clock = clock;
  }

  /** What its own monotonic clock says. */
  get now(): MonotonicMs {
    return monotonicMs(this.#clock.offsetMs + this.#clock.rate * this.#world.now);
  }

  /** When it does something again, in the world's time; in the past while it is not frozen. */
  get awakeAt(): number {
    return this.#frozenUntil;
  }

  get isAwake(): boolean {
    return this.#frozenUntil <= this.#world.now;
  }

  freeze(ms: number): void {
    this.#frozenUntil = Math.max(this.#frozenUntil, this.#world.now + ms);
  }

  /** Nothing that it was to do later is done. */
  end(): void {
    this.#life += 1;
    this.#frozenUntil = 0;
  }

  /** `delayMs` of its own clock from now; when it is frozen then, as soon as it is not. */
  later(delayMs: number, what: () => void): void {
    const life = this.#life;
    const attempt = (): void => {
      if (life !== this.#life) return;
      if (this.isAwake) what();
      else this.#world.at(this.#frozenUntil, attempt);
    };
    this.#world.after(delayMs / this.#clock.rate, attempt);
  }
}
