/**
 * The reactor with a clock and a journal: commands in, effects out, and a promise for callers who must not hear "yes"
 * before it is durable.
 */
import { invariant } from '../common/core/invariant.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Command } from './core/commands.ts';
import type { Effect } from './core/effects.ts';
import type { DurableEvent, Event } from './core/events.ts';
import type { Ledger } from './core/ledger.ts';
import { Reactor } from './core/reactor.ts';

export interface LoopOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly append: (event: DurableEvent) => number;
  /** Must not hand in a command before it returns. */
  readonly carryOut: (effect: Effect) => void;
  readonly publish: (event: Event) => void;
}

interface Waiter {
  readonly sequence: number;
  readonly resolve: () => void;
}

export class Loop {
  readonly ledger: Ledger;
  readonly #clock: Clock;
  readonly #reactor: Reactor;
  #waiters: Waiter[] = [];
  #synced = 0;
  #isHandling = false;
  /** Commands are being handed in {@link together}. */
  #isGathering = false;

  constructor(options: LoopOptions) {
    const { ledger, append, carryOut, publish } = options;
    this.ledger = ledger;
    this.#clock = options.clock;
    this.#reactor = new Reactor(ledger, { append, carryOut, publish });
  }

  /** @throws BatchError when the command is refused, in which case nothing has happened. */
  handle(command: Command): void {
    this.#guarded(command.kind, () => {
      const now = this.#clock.monotonic();
      if (this.#isGathering) this.#reactor.take(command, now);
      else this.#reactor.handle(command, now, this.#clock.wall());
    });
  }

  /**
   * What `work` hands in comes as one: each command sees what the ones before have made of the ledger, and what follows of itself (copies,
   * ends of jobs, grants) follows once, behind the last one.
   */
  together(work: () => void): void {
    if (this.#isGathering) return work();
    this.#isGathering = true;
    try {
      work();
    } finally {
      this.#isGathering = false;
      this.#guarded('go on', () => this.#reactor.goOn(this.#clock.monotonic(), this.#clock.wall()));
    }
  }

  #guarded(what: string, work: () => void): void {
    invariant(!this.#isHandling, `command ${what} came while another one was being handled`);
    this.#isHandling = true;
    try {
      work();
    } finally {
      this.#isHandling = false;
    }
  }

  /** Resolves when all that has been handled so far is on the disk. */
  durable(): Promise<void> {
    const sequence = this.#reactor.appended;
    if (sequence <= this.#synced) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ sequence, resolve }));
  }

  /** From the journal. */
  synced(sequence: number): void {
    this.#synced = sequence;
    this.#reactor.synced(sequence);
    const due = this.#waiters.filter((waiter) => waiter.sequence <= sequence);
    this.#waiters = this.#waiters.filter((waiter) => waiter.sequence > sequence);
    for (const waiter of due) waiter.resolve();
  }
}
