/**
 * Where the results of a job that is being submitted will go: a folder, or a place in a store. What refuses it is found before
 * anything is copied; what --overwrite destroys goes when nothing else is in the way of the job any more.
 */
import type { DeploymentSettings } from '../common/core/deployment.ts';
import type { JobName } from '../common/core/ids.ts';
import type { InputSelection } from '../common/core/input-selection.ts';
import { isUri } from '../common/core/location.ts';
import { rowsFileName } from '../common/core/parts-form.ts';
import { outputDirOf } from './job-files.ts';
import type { LogStore } from './logs/log-store.ts';
import {
  lookAtOutputDir,
  prepareOutputDir,
  type OutputDirOptions,
  type PreparedOutputDir,
} from './output/output-dir.ts';
import { refuseOutputInInput } from './output/output-place.ts';
import { partNames } from './output/part-names.ts';
import type { PrepareOptions, StoreOutput } from './output/store-output.ts';
import type { Outside } from './outside.ts';

export interface JobOutputOptions {
  readonly outside: Outside;
  readonly stateDir: string;
  readonly job: JobName;
  /** An absolute path, or a location. */
  readonly place: string;
  readonly settings: DeploymentSettings;
  readonly isOverwrite: boolean;
  /** See `LogStore`. */
  readonly closeLogs: LogStore['close'];
  readonly signal: AbortSignal;
}

export class JobOutput {
  /** Where the job works. */
  readonly dir: string;
  /** Where its results go from there; null: they stay. */
  readonly location: string | null;
  readonly #options: JobOutputOptions;
  readonly #folder: OutputDirOptions;
  #openLogs = (): void => undefined;
  readonly #store: { readonly output: StoreOutput; readonly prepare: PrepareOptions } | null;

  constructor(options: JobOutputOptions) {
    const { outside, stateDir, job, place, settings, isOverwrite, signal } = options;
    this.#options = options;
    this.location = isUri(place) ? place : null;
    this.dir = this.location === null ? place : outputDirOf(stateDir, job);
    const parts = partNames(settings);
    this.#folder = { dir: this.dir, isOverwrite, outputFileName: rowsFileName(settings), parts };
    this.#store =
      this.location === null
        ? null
        : {
            output: outside.storeOutput({
              ...{ location: this.location, job, dir: this.dir, fileSystem: outside.fileSystem, signal },
            }),
            prepare: { isOverwrite, outputFileName: settings.outputFileName || null, parts },
          };
  }

  /** What a list does not name is not scored, wherever it lies. @throws OUTPUT_IN_INPUT */
  async refuseIn(inputPath: string, { list, recursive }: InputSelection): Promise<void> {
    const { place } = this.#options;
    if (list !== null || isUri(inputPath) !== isUri(place)) return;
    await refuseOutputInInput({ inputPath, outputDir: place, isRecursive: recursive });
  }

  /** Whether it may be used; nothing goes. @throws OUTPUT_EXISTS, STATE_UNWRITABLE, CONFIG_INVALID, and what stores throw */
  async look(): Promise<void> {
    if (this.#store) await this.#store.output.look(this.#store.prepare);
    await lookAtOutputDir(this.#folder);
  }

  /**
   * The folder is the job's from here on, without the results of an earlier one. `guard`: keeps others from it. No log goes there before
   * `openLogs`: those of the earlier job that are still on their way would be found among this one's.
   */
  async take(guard: (dir: string) => Promise<void>): Promise<PreparedOutputDir> {
    const alone = async (dir: string): Promise<void> => {
      await guard(dir);
      this.#openLogs = await this.#options.closeLogs(dir);
    };
    try {
      return await prepareOutputDir({ ...this.#folder, guard: alone });
    } catch (error) {
      this.#openLogs();
      throw error;
    }
  }

  /** The job is about to be written down, or was refused. */
  openLogs(): void {
    this.#openLogs();
  }

  /** The same of the store, once all that is left is to write the job down. */
  async clear(): Promise<void> {
    if (this.#store && this.#options.isOverwrite) await this.#store.output.clear(this.#store.prepare);
  }
}
