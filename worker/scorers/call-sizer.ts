/** Calls of a model, of as many rows as its device is best at and has memory for. What that is, is decided in `core/call-size.ts`. */
import { afterCall, afterShortage, climbFrom, settledAt, type CallSize } from '../core/call-size.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { limits } from '../../common/core/limits.ts';
import { isMemoryWant } from '../pool/host-failures.ts';
import { cutCall, type ModelCall } from './row-batch.ts';

export interface CallSizerOptions {
  /** Rows of a call at most. */
  readonly rowsMax: number;
  /** As they were found before with this model on such a device; null: nobody knows. */
  readonly learned: number | null;
  /** Whether the best size is looked for; else calls have `rowsMax` rows as long as there is memory. */
  readonly climbs: boolean;
  /** False: the model takes calls of one size alone. */
  readonly isCuttable: boolean;
  /** Milliseconds. */
  readonly now: () => number;
  readonly say: (text: string) => void;
}

/** Part of a call that went through the model, with what came out. */
export interface Called<Outputs> {
  readonly call: ModelCall;
  readonly outputs: Outputs;
}

export class CallSizer {
  readonly #options: CallSizerOptions;
  #size: CallSize;
  #told: number | null;

  constructor(options: CallSizerOptions) {
    const { learned, rowsMax, climbs } = options;
    this.#options = options;
    this.#told = learned;
    if (learned !== null) this.#size = settledAt(Math.min(learned, rowsMax));
    else this.#size = climbs ? climbFrom(Math.min(rowsMax, limits.callRowsFirst)) : settledAt(rowsMax);
  }

  /** Of the next call. */
  get rows(): number {
    return this.#size.rows;
  }

  /** What was found since the last look; null: nothing. */
  takeLearned(): number | null {
    const { rows, isSettled } = this.#size;
    const isFresh = isSettled && rows !== (this.#told ?? (this.#options.climbs ? null : this.#options.rowsMax));
    if (!isFresh) return null;
    this.#told = rows;
    return rows;
  }

  /** The call, or its parts in order where there was not enough memory for all of it. Throws what a call of one row throws. */
  async run<Outputs>(
    whole: ModelCall,
    score: (call: ModelCall) => Promise<Outputs>,
  ): Promise<readonly Called<Outputs>[]> {
    const { now, rowsMax, isCuttable, say } = this.#options;
    const open = [whole];
    const done: Called<Outputs>[] = [];
    for (let call = open.shift(); call; call = open.shift()) {
      // Put together before it was known.
      if (isCuttable && call.rows > this.rows) {
        open.unshift(...cutCall(call, this.rows));
        continue;
      }
      const from = now();
      try {
        const outputs = await score(call);
        this.#size = afterCall(this.#size, call.rows, (now() - from) / 1_000, rowsMax);
        done.push({ call, outputs });
      } catch (error) {
        const size = isCuttable && isMemoryWant(reasonOf(error)) ? afterShortage(call.rows) : null;
        if (size === null) throw error;
        say(`no memory for a call of ${call.rows} rows; ${size.rows} at a time from here on: ${reasonOf(error)}`);
        this.#size = size;
        open.unshift(call);
      }
    }
    return done;
  }
}
