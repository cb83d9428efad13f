/**
 * Calls of a script's run() with as many files as the device has memory for: half as many when it says that it has not, and so
 * from then on. As for scripts in Python.
 */
import { readdirSync } from 'node:fs';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { isGpuWant } from '../pool/host-failures.ts';
import { isTable, isTypedArray, nameOf } from './script-result.ts';
import type { ScriptModule } from './script-module.ts';
import type { ScorerContext } from './script-types.ts';

export interface ScriptCallsOptions {
  readonly script: Pick<ScriptModule, 'run'>;
  readonly context: ScorerContext;
  /** Where the script writes files of its own. */
  readonly customDir: string;
  /** Files of a call as found before on such a device; null: nobody knows. */
  readonly learned: number | null;
  readonly say: (text: string) => void;
}

export class ScriptCalls {
  readonly #options: ScriptCallsOptions;
  /** Null: all there are. */
  #filesMax: number | null;
  #told: number | null;

  constructor(options: ScriptCallsOptions) {
    this.#options = options;
    this.#filesMax = options.learned;
    this.#told = options.learned;
  }

  /**
   * What run() returned, put together of several calls where one was too much. Throws what it throws of a file alone, or when it
   * has written files by then. `begin`: a call is of this file alone, by its place.
   */
  async run(files: readonly HostFile[], begin: (index: number) => void): Promise<unknown> {
    const returned: unknown[] = [];
    let done = 0;
    while (done < files.length || returned.length === 0) {
      const some = files.slice(done, done + (this.#filesMax ?? files.length));
      if (some.length === 1) begin(done);
      try {
        returned.push(await this.#call(some));
        done += some.length;
      } catch (error) {
        this.#halve(some.length, error);
      }
    }
    return together(returned);
  }

  /** Files of a call as found since the last look; null: nothing new. */
  takeLearned(): number | null {
    if (this.#filesMax === this.#told) return null;
    this.#told = this.#filesMax;
    return this.#filesMax;
  }

  async #call(files: readonly HostFile[]): Promise<unknown> {
    const { script, context } = this.#options;
    const inputs = files.map(({ path, name }) => ({ path, name }));
    const names = files.map(({ name }) => name);
    // A list of user code's own: what it does to it must not change what is counted here.
    return await script.run(
      files.map(({ path }) => path),
      { ...context, files: inputs, names },
    );
  }

  /** Throws `error` where fewer files would not help, or where what the call has written must go first, as it does with an attempt. */
  #halve(files: number, error: unknown): void {
    const { customDir, say } = this.#options;
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (files < 2 || !isGpuWant(message) || !isEmpty(customDir)) throw error;
    this.#filesMax = Math.floor(files / 2);
    say(`no memory for ${files} files in one call of run(), ${this.#filesMax} from here on: ${message}`);
  }
}

/** False for a folder that the script has removed, too. */
function isEmpty(dir: string): boolean {
  try {
    return readdirSync(dir).length === 0;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return false;
  }
}

/** @throws SCORER_OUTPUT_INVALID where the calls have returned things that cannot be one */
function together(returned: readonly unknown[]): unknown {
  const [first] = returned;
  if (returned.length === 1) return first;
  if (returned.every((one) => Array.isArray(one))) return returned.flat();
  if (returned.every(isTypedArray) && new Set(returned.map(({ constructor }) => constructor)).size === 1) {
    return joinedArrays(returned);
  }
  if (returned.every(isTable)) {
    // The script's own copy of apache-arrow puts them together.
    const [table, ...others] = returned as readonly { readonly concat?: (...tables: unknown[]) => unknown }[];
    if (table?.concat) return table.concat(...others);
  }
  const kinds = [...new Set(returned.map(nameOf))].sort().join(' and ');
  throw new BatchError(
    'SCORER_OUTPUT_INVALID',
    `the mini-batch was scored in ${returned.length} calls of run(), for want of memory, which returned ${kinds}; ` +
      'run() must return an array, a typed array or an Arrow table, the same for any number of files',
  );
}

/** All of one type. */
function joinedArrays(arrays: readonly ArrayLike<number | bigint>[]): ArrayLike<number | bigint> {
  const rows = arrays.reduce((sum, { length }) => sum + length, 0);
  const { constructor } = arrays[0] as object;
  const whole = new (constructor as Float64ArrayConstructor)(rows);
  let at = 0;
  for (const array of arrays) {
    whole.set(array as ArrayLike<number>, at);
    at += array.length;
  }
  return whole;
}
