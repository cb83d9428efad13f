/** Virtual time and chance: everything that happens in a simulation happens through here, in an order that a seed fixes. */

/** A small generator whose whole state is one number (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from `from` to `to`, both included. */
  between(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.between(0, items.length - 1)] as T;
  }
}

interface Scheduled {
  readonly at: number;
  readonly sequence: number;
  readonly what: () => void;
}

/** A cluster of five nodes has a few hundred things to do at once at most. */
const eventsPerInstantMax = 20_000;

export class World {
  readonly seed: number;
  readonly random: Random;
  /** What happened, for comparing two runs of one seed. */
  readonly trace: string[] = [];
  now = 0;
  /** Why the run was given up, null when it was not. */
  livelock: string | null = null;
  #sequence = 0;
  #queue: Scheduled[] = [];
  #isTouched = false;
  /** Events since virtual time last went on. */
  #atThisInstant = 0;
  #fingerprint = 0x811c9dc5;

  constructor(seed: number) {
    this.seed = seed;
    this.random = new Random(seed);
  }

  after(delayMs: number, what: () => void): void {
    this.at(this.now + Math.max(0, delayMs), what);
  }

  /** What is due at the same time happens in the order of the calls. */
  at(timeMs: number, what: () => void): void {
    this.#sequence += 1;
    const item = { at: Math.max(this.now, timeMs), sequence: this.#sequence, what };
    let at = this.#queue.length;
    this.#queue.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const other = this.#queue[parent] as Scheduled;
      if (!isBefore(item, other)) break;
      this.#queue[at] = other;
      this.#queue[parent] = item;
      at = parent;
    }
  }

  say(text: string): void {
    this.trace.push(`${this.now.toFixed(1)} ${text}`);
    this.note(text);
  }

  /** Goes into the fingerprint alone: for what happens too often to be told. */
  note(text: string): void {
    let hash = Math.imul(this.#fingerprint ^ Math.round(this.now * 16), 0x01000193);
    for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    this.#fingerprint = hash;
  }

  /** The same for two runs that did the same at the same times. */
  get fingerprint(): string {
    return (this.#fingerprint >>> 0).toString(16).padStart(8, '0');
  }

  /** Something is under way that goes on by itself: promises that were settled, calls into asynchronous code. */
  touch(): void {
    this.#isTouched = true;
  }

  /**
   * Runs until `isOver` or nothing is left; false when virtual time reached `untilMs` first, or stood still for so many events that
   * it never would. What follows at once from an event, promises included, has happened before the next one.
   */
  play(untilMs: number, isOver: () => boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const goOn = (): void => {
        try {
          const isEnded = this.#run(untilMs, isOver);
          if (isEnded === null) afterPromises(goOn);
          else resolve(isEnded);
        } catch (error) {
          reject(error as Error);
        }
      };
      this.#atThisInstant = 0;
      goOn();
    });
  }

  /** Until promises have something to do (null), or to the end: whether it is over. */
  #run(untilMs: number, isOver: () => boolean): boolean | null {
    for (;;) {
      if (this.#isTouched) {
        this.#isTouched = false;
        return null;
      }
      if (isOver()) return true;
      const item = this.#pop();
      if (!item) return isOver();
      if (item.at > untilMs) {
        this.at(item.at, item.what);
        return false;
      }
      this.#atThisInstant = item.at > this.now ? 0 : this.#atThisInstant + 1;
      if (this.#atThisInstant > eventsPerInstantMax) {
        const last = this.trace.slice(-5).join(' | ');
        this.livelock = `livelock: more than ${eventsPerInstantMax} events at ${this.now} ms, after ${last}`;
        return false;
      }
      this.now = item.at;
      item.what();
    }
  }

  /** `setImmediate` for the code under test, in virtual time. */
  immediate(what: () => void): void {
    this.after(0, () => {
      this.touch();
      what();
    });
  }

  #pop(): Scheduled | undefined {
    const top = this.#queue[0];
    const last = this.#queue.pop();
    if (!top || !last || this.#queue.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const left = this.#queue[child];
      if (!left) break;
      const right = this.#queue[child + 1];
      if (right && isBefore(right, left)) child += 1;
      const other = this.#queue[child] as Scheduled;
      if (!isBefore(other, last)) break;
      this.#queue[at] = other;
      at = child;
    }
    this.#queue[at] = last;
    return top;
  }
}

/** Once all promises have been heard, and those that they settle. Node comes to the ticks when nothing is left of the promises. */
function afterPromises(what: () => void): void {
  queueMicrotask(() => process.nextTick(what));
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}
