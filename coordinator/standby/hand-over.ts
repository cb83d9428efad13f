/** Lets another coordinator lead before this one ends, so that no slot stands still: because somebody asks for it, or because it is stopped. */
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import type { Log } from '../../common/io/log.ts';
import type { Leadership } from './leadership.ts';

export interface HandOverOptions {
  /** Null: it is the only coordinator. */
  readonly leadership: Pick<Leadership, 'successor'> | null;
  /** Tells worker nodes that another one leads within `withinMs`. */
  readonly announce: (withinMs: number) => void;
  /** Ends this one, for that reason. */
  readonly leave: (reason: BatchError) => void;
  readonly delay: Delay;
  readonly log: Log;
}

export class HandOver {
  readonly #options: HandOverOptions;

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  /** Resolves with who is to lead, for people; this one ends once whoever asked is answered. @throws NO_STANDBY */
  async asked(): Promise<string> {
    const { leadership, leave } = this.#options;
    if (!leadership)
      throw new BatchError('NO_STANDBY', 'this coordinator was started without --standby: it is the only one');
    const to = await leadership.successor();
    void this.#announced().then(() => leave(new BatchError('NOT_LEADING', `handed over to ${to}`)));
    return to;
  }

  /** Resolves when it may end: at once where nobody stands by. */
  async beforeEnd(): Promise<void> {
    const { leadership, log } = this.#options;
    // Where NATS is away nobody can be asked, and nobody could lead.
    const to = await leadership?.successor().catch(() => null);
    if (!to) return;
    log.info('the coordinator hands over before it ends', { to });
    await this.#announced();
  }

  /** Resolves when the work that nodes ask for now has been granted. */
  async #announced(): Promise<void> {
    const { announce, delay } = this.#options;
    announce(limits.handOverMs);
    await delay(limits.handOverAfterMs, new AbortController().signal);
  }
}
