/** What one job has on the coordinator's disk: its catalog of inputs, its output while it grows, its staging segments. */
import { join, resolve } from 'node:path';
import { BatchError, type Failure } from '../common/core/batch-error.ts';
import type { JobName } from '../common/core/ids.ts';
import { rowsFileName } from '../common/core/parts-form.ts';
import { epilogueOf } from '../common/format/epilogue.ts';
import { prologueBytes } from '../common/format/prologue.ts';
import { outsideError } from '../common/io/errno.ts';
import { removeAny, removeTree } from '../common/io/remove-tree.ts';
import type { FileSystem } from '../common/ports/file-system.ts';
import type { Job } from './core/ledger.ts';
import { InputCatalog } from './input/input-catalog.ts';
import type { OutputOperation } from './output/operations.ts';
import { OutputWriter } from './output/output-writer.ts';
import type { SegmentSink } from './output/segment-sink.ts';
import type { Outside } from './outside.ts';

export interface JobFilesOptions {
  readonly stateDir: string;
  readonly outside: Outside;
  readonly onStall: (failure: Failure | null) => void;
  readonly onFatal: (error: BatchError) => void;
  /** Runs what many operations that are done together call back; by default as it is. */
  readonly together?: (work: () => void) => void;
  /** False: the file of rows may be gone, and nothing more comes to it. By default true. */
  readonly hasRows?: boolean;
}

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

/** A job's folder within the state directory. */
export function jobDirOf(stateDir: string, job: JobName): string {
  return join(stateDir, 'jobs', job);
}

export class JobFiles {
  readonly catalog: InputCatalog;
  /** Folder that the paths of inputs are relative to. */
  readonly inputRoot: string;
  /** Why the job cannot go on after a restart; null when it can. */
  readonly damage: BatchError | null;
  readonly #jobDir: string;
  readonly #writer: OutputWriter | null;
  readonly #done: Map<number, () => void>;
  #operations = 0;
  #isClosed = false;

  private constructor(parts: {
    catalog: InputCatalog;
    inputRoot: string;
    jobDir: string;
    writer: OutputWriter | null;
    done: Map<number, () => void>;
    damage: BatchError | null;
  }) {
    this.catalog = parts.catalog;
    this.inputRoot = parts.inputRoot;
    this.#jobDir = parts.jobDir;
    this.#writer = parts.writer;
    this.#done = parts.done;
    this.damage = parts.damage;
  }

  /** For a new job. @throws INPUT_NOT_FOUND, INPUT_UNREADABLE, STATE_UNWRITABLE, OUTPUT_CORRUPT */
  static async create(job: JobRecord, options: JobFilesOptions): Promise<JobFiles> {
    await options.outside.inspectInput(job.inputPath);
    const files = await JobFiles.reopen(job, options);
    if (files.damage) throw files.damage;
    return files;
  }

  /**
   * After a restart: brings the files to what the ledger says. What is wrong with the job's own input or output is its
   * own {@link damage} and no reason for the others not to go on.
   * @throws JOURNAL_CORRUPT, STATE_UNWRITABLE of the state directory
   */
  static async reopen(job: JobRecord, options: JobFilesOptions): Promise<JobFiles> {
    const { fileSystem } = options.outside;
    const inputRoot = job.rowsOf === null ? await inputRootOf(options.outside, job.inputPath) : job.inputPath;
    const jobDir = jobDirOf(options.stateDir, job.name);
    await makeJobDir(fileSystem, jobDir);
    const catalog = await InputCatalog.open({ jobDir, fileSystem });
    await catalog.truncateTo(job.chunks);
    const done = new Map<number, () => void>();
    const parts = { catalog, inputRoot, jobDir, done };
    const writer = openWriter(job, jobDir, options, done);
    const prologue = prologueBytes(job.schemas[job.schema]);
    const epilogue = await epilogueOf(job.deployment.settings, job.schema >= 0);
    try {
      await writer.recover({
        outputEnd: job.outputCommitted,
        prologue: prologue.length === 0 ? null : prologue,
        epilogueBytes: epilogue.length,
        liveSegments: new Set([...job.segments.keys()].filter((segment) => !job.bases.has(segment))),
        bases: [...basesOf(job)].filter(([segment]) => job.segments.has(segment)).map(([, path]) => path),
      });
      return new JobFiles({ ...parts, writer, damage: null });
    } catch (error) {
      if (!(error instanceof BatchError)) throw error;
      await writer.close();
      return new JobFiles({ ...parts, writer: null, damage: error });
    }
  }

  /** `onDone` is called when the operation and all before it are on the disk. */
  enqueue(operation: WithoutId<OutputOperation>, onDone: () => void): void {
    if (this.#isClosed) return;
    this.#operations += 1;
    const id = this.#operations;
    if (this.#writer === null) {
      setImmediate(() => !this.#isClosed && onDone());
      return;
    }
    this.#done.set(id, onDone);
    this.#writer.enqueue({ ...operation, id });
  }

  /** Null when the job takes no results any more. */
  openSegment(segment: number): SegmentSink | null {
    return this.#isClosed ? null : (this.#writer?.openSegment(segment) ?? null);
  }

  /** Nothing more is written; callbacks still due are not called. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#done.clear();
    await this.#writer?.close();
  }

  /** Where results are until the job is sealed. */
  get stagingDir(): string {
    return stagingDirOf(this.#jobDir);
  }
}

/** Where the output goes: a folder, or a location. */
export function outputPlaceOf({ outputDir, outputLocation }: Pick<Job, 'outputDir' | 'outputLocation'>): string {
  return outputLocation ?? outputDir;
}

/** Where a job works whose output goes somewhere else. */
export function outputDirOf(stateDir: string, job: JobName): string {
  return join(jobDirOf(stateDir, job), 'output');
}

export function stagingDirOf(jobDir: string): string {
  return join(jobDir, 'staging');
}

/** The job is sealed, durably: nothing of its staging is needed any more. */
export async function removeStaging(fileSystem: FileSystem, stateDir: string, job: JobName): Promise<void> {
  await removeTree(fileSystem, stagingDirOf(jobDirOf(stateDir, job)));
}

export type JobRecord = Pick<
  Job,
  | 'name'
  | 'inputPath'
  | 'outputDir'
  | 'rowsOf'
  | 'deployment'
  | 'chunks'
  | 'outputCommitted'
  | 'schema'
  | 'schemas'
  | 'generation'
> & {
  readonly segments: ReadonlyMap<number, number>;
  readonly bases: ReadonlyMap<number, string>;
};

/** Files that are read as segments are, by number: absolute paths. */
function basesOf({ outputDir, bases }: JobRecord): ReadonlyMap<number, string> {
  return new Map([...bases].map(([segment, file]) => [segment, resolve(outputDir, file)]));
}

async function makeJobDir(fileSystem: FileSystem, jobDir: string): Promise<void> {
  try {
    await fileSystem.makeDir(jobDir);
  } catch (error) {
    throw outsideError(error, `the state folder ${jobDir} cannot be made`) ?? error;
  }
}

/** An input that has gone missing is told file by file, or by the listing that is resumed. */
async function inputRootOf(outside: Outside, inputPath: string): Promise<string> {
  try {
    return (await outside.inspectInput(inputPath)).base;
  } catch (error) {
    if (error instanceof BatchError) return inputPath;
    throw error;
  }
}

function openWriter(
  job: JobRecord,
  jobDir: string,
  options: JobFilesOptions,
  done: Map<number, () => void>,
): OutputWriter {
  return new OutputWriter({
    outputDir: job.outputDir,
    outputFileName: options.hasRows === false ? null : rowsFileName(job.deployment.settings),
    generation: job.generation,
    bases: basesOf(job),
    stagingDir: stagingDirOf(jobDir),
    onDone: (ids) => {
      (options.together ?? ((work) => work()))(() => {
        for (const id of ids) {
          const callback = done.get(id);
          done.delete(id);
          callback?.();
        }
      });
    },
    onStall: options.onStall,
    onFatal: options.onFatal,
    isShared: options.outside.isShared ?? false,
    fileSystem: options.outside.fileSystem,
    delay: options.outside.delay,
  });
}

/** All that the coordinator keeps of a job. */
export async function removeJobDir(fileSystem: FileSystem, stateDir: string, job: JobName): Promise<void> {
  await removeTree(fileSystem, jobDirOf(stateDir, job));
}

/** Of an output that has gone to a store: all but manifest, markers and logs, whose names begin with `_`. */
export async function removePublished(fileSystem: FileSystem, outputDir: string): Promise<void> {
  for (const name of await fileSystem.list(outputDir)) {
    if (!name.startsWith('_')) await removeAny(fileSystem, join(outputDir, name));
  }
}
