/** Questions to worker nodes that wait for their answers. */
import type { Diagnose, Diagnosis } from '../common/core/diagnosis.ts';
import type { NodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import type { NodeAnswer } from './core/doctor.ts';

interface Waiting {
  readonly node: NodeName;
  readonly askedMs: number;
  readonly resolve: (answer: NodeAnswer) => void;
}

export class NodeQuestions {
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Never rejects; a node that is silent for {@link limits.diagnosisMsMax} is given up. */
  async ask(node: NodeName, send: (question: Diagnose) => void, paths: readonly string[]): Promise<NodeAnswer> {
    // As the wire has it.
    const id = (this.#lastId = (this.#lastId + 1) % 2 ** 32);
    const over = new AbortController();
    const answered = new Promise<NodeAnswer>((resolve) => {
      this.#waiting.set(id, { node, askedMs: this.#clock.wall(), resolve });
    });
    try {
      send({ id, paths });
      const silence = delay(limits.diagnosisMsMax, over.signal).then((): NodeAnswer => ({ kind: 'silent' }));
      return await Promise.race([answered, silence]);
    } finally {
      over.abort();
      this.#waiting.delete(id);
    }
  }

  /** An answer that nobody waits for, or of another node than was asked, is let be. */
  answered(node: NodeName, diagnosis: Diagnosis): void {
    const waiting = this.#waiting.get(diagnosis.id);
    if (waiting?.node !== node) return;
    const { askedMs } = waiting;
    waiting.resolve({ kind: 'answered', diagnosis, askedMs, heardMs: this.#clock.wall() });
  }

  /** The connection of the node has ended. */
  away(node: NodeName): void {
    for (const waiting of this.#waiting.values()) if (waiting.node === node) waiting.resolve({ kind: 'away' });
  }
}
