/**
 * What calls of models were found to be best at, by model, code and kind of device, in a file of the scratch folder that nodes of a
 * machine share. It only saves finding it again: where the file cannot be read or written, things go on without.
 */
import * as z from 'zod';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { Log } from '../../common/io/log.ts';
import { readIfThere, writePrivate } from '../../common/io/private-file.ts';

const shape = z.object({ version: z.literal(1), sizes: z.record(z.string(), z.int().positive()) });

type Sizes = Readonly<Record<string, number>>;

/** What a size is known by: digests, and such as `a100`. */
export interface CallOf {
  readonly model: string | null;
  readonly code: string | null;
  readonly device: string;
}

export class CallSizes {
  readonly #path: string;
  readonly #log: Pick<Log, 'warn'>;
  /** One after the other: each adds to what the one before has written. */
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, log: Pick<Log, 'warn'>) {
    this.#path = path;
    this.#log = log;
  }

  /** Rows, or files, of a call; null: nothing is known. */
  async find(of: CallOf): Promise<number | null> {
    return (await this.#read())[keyOf(of)] ?? null;
  }

  /** Resolves when it is written. */
  learn(of: CallOf, size: number): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(keyOf(of), size));
    return this.#writing;
  }

  async #write(key: string, size: number): Promise<void> {
    const { [key]: _, ...others } = await this.#read();
    // The oldest go first.
    const sizes = Object.fromEntries([...Object.entries(others).slice(1 - limits.callSizesKept), [key, size]]);
    try {
      await writePrivate(this.#path, `${JSON.stringify({ version: 1, sizes })}\n`);
    } catch (error) {
      this.#log.warn('the size of calls cannot be kept', { file: this.#path, reason: reasonOf(error) });
    }
  }

  async #read(): Promise<Sizes> {
    try {
      const text = await readIfThere(this.#path);
      return text === null ? {} : shape.parse(JSON.parse(text)).sizes;
    } catch (error) {
      this.#log.warn('sizes of calls cannot be read, and are found anew', {
        file: this.#path,
        reason: reasonOf(error),
      });
      return {};
    }
  }
}

function keyOf({ model, code, device }: CallOf): string {
  return `${model ?? '-'} ${code ?? '-'} ${device}`;
}
