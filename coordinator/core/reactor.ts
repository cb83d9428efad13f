/**
 * Turns commands into events, the events into a new ledger and into effects, and holds back what must not leave before
 * it is durable. Synchronous and pure but for the ledger it owns: the real shell and the simulator drive the same one.
 */
import type { JobName } from '../../common/core/ids.ts';
import { nextToBegin } from './admission.ts';
import type { Command } from './commands.ts';
import { advance, decide } from './decide.ts';
import { effectsOf, needsSync, type Effect } from './effects.ts';
import { isDurable, type DurableEvent, type Event } from './events.ts';
import { evolve } from './evolve.ts';
import type { Ledger } from './ledger.ts';
import { partsEvents } from './parts.ts';
import { nextGrant } from './schedule.ts';

export interface ReactorPorts {
  /** Hands a record to the journal; returns its sequence number, which grows by one. */
  append(event: DurableEvent): number;
  /** Carries an effect out, in the order of the calls. */
  carryOut(effect: Effect): void;
  /** Every event, once what it says is durable; for views. */
  publish(event: Event): void;
}

interface Held {
  readonly sequence: number;
  readonly effect: Effect | null;
  readonly event: Event | null;
}

export class Reactor {
  readonly ledger: Ledger;
  readonly #ports: ReactorPorts;
  #appended = 0;
  #synced = 0;
  #held: Held[] = [];
  #isReleasing = false;
  /** Its epoch; before, files are not what the ledger says, and what it did would be done in the name of the epoch before. */
  #hasBegun = false;
  /** Jobs that something has become of since the last {@link goOn}. */
  #touched = new Set<JobName>();

  constructor(ledger: Ledger, ports: ReactorPorts) {
    this.ledger = ledger;
    this.#ports = ports;
  }

  /** Sequence of the last record that was handed to the journal; an answer to a caller waits until it is synced. */
  get appended(): number {
    return this.#appended;
  }

  /** @throws BatchError when the command is refused, in which case nothing has happened. */
  handle(command: Command, now: number, wallMs: number): void {
    this.take(command, now);
    this.goOn(now, wallMs);
  }

  /**
   * The command alone; what follows of itself waits for {@link goOn}, once for many commands that come together.
   * @throws BatchError when the command is refused, in which case nothing has happened.
   */
  take(command: Command, now: number): void {
    for (const event of decide(this.ledger, command, now)) this.#apply(event, this.#touched);
  }

  /** Jobs go on, waiting ones begin, leases are granted, until nothing more follows from what was taken. Not before the epoch has begun. */
  goOn(now: number, wallMs: number): void {
    if (!this.#hasBegun) return;
    const touched = this.#touched;
    this.#touched = new Set();
    this.#advance(touched, wallMs);
    for (let next = nextToBegin(this.ledger, wallMs); next.length > 0; next = nextToBegin(this.ledger, wallMs)) {
      const begun = new Set<JobName>();
      for (const event of next) this.#apply(event, begun);
      this.#advance(begun, wallMs);
    }
    for (let next = nextGrant(this.ledger, now); next.length > 0; next = nextGrant(this.ledger, now)) {
      for (const event of next) this.#apply(event, touched);
    }
  }

  /** What jobs do of themselves once something has become of them. */
  #advance(touched: Set<JobName>, wallMs: number): void {
    const { ledger } = this;
    for (const name of touched) {
      const job = ledger.jobs.get(name);
      if (!job) continue;
      for (let more = advance(ledger, job, wallMs); more.length > 0; more = advance(ledger, job, wallMs)) {
        for (const event of more) this.#apply(event, touched);
      }
      // Whoever they touch gets its turn in this same loop.
      for (const event of partsEvents(ledger, job, wallMs)) this.#apply(event, touched);
    }
  }

  /** The journal has everything up to `sequence` on disk. */
  synced(sequence: number): void {
    this.#synced = Math.max(this.#synced, sequence);
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    let released = 0;
    // What is held while others leave queues up behind them, so that the order stays.
    for (let held = this.#held[0]; held && held.sequence <= this.#synced; held = this.#held[released]) {
      released += 1;
      this.#release(held);
    }
    this.#held.splice(0, released);
    this.#isReleasing = false;
  }

  #apply(event: Event, touched: Set<JobName>): void {
    const effects = effectsOf(this.ledger, event);
    evolve(this.ledger, event);
    if (isDurable(event)) this.#appended = this.#ports.append(event);
    if ('job' in event && event.job !== null) touched.add(event.job);
    // What the process before had still to do of itself (a copy, the end of a job), nobody else will call for.
    if (event.kind === 'EpochBegan') {
      this.#hasBegun = true;
      for (const name of this.ledger.jobs.keys()) touched.add(name);
    }
    // Its view leaves behind the last of its effects, with it where that one waits as well.
    let last: Effect | null = null;
    for (const effect of effects) {
      if (!needsSync(effect)) this.#ports.carryOut(effect);
      else {
        if (last) this.#hold({ sequence: this.#appended, effect: last, event: null });
        last = effect;
      }
    }
    this.#hold({ sequence: this.#appended, effect: last, event });
  }

  #hold(held: Held): void {
    if (this.#held.length === 0 && held.sequence <= this.#synced) this.#release(held);
    else this.#held.push(held);
  }

  #release({ effect, event }: Held): void {
    if (effect) this.#ports.carryOut(effect);
    if (event) this.#ports.publish(event);
  }
}
