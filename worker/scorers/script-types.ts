/**
 * What a scoring script in TypeScript imports types of: `import type { Scorer, ScorerContext } from 'batchmill'`. Stands alone, so that
 * it can be checked in a folder that has nothing else installed.
 */

/** A file of a mini-batch. */
export interface InputFile {
  /** Absolute path of a local copy. */
  readonly path: string;
  /** Relative path in the input, as output rows should name it. */
  readonly name: string;
}

/** What a script is told once, as init() is called. */
export interface ScorerContext {
  /** The model's file or folder, absolute; null without a model. */
  readonly modelPath: string | null;
  /** Folder of the script, absolute. */
  readonly codeDir: string;
  /** Folder of this process for files of the script's own. */
  readonly outputDir: string;
  readonly job: string;
  /** Worker node that this process belongs to. */
  readonly node: string;
  /** Number of this process within its job on the node, from 0. */
  readonly process: number;
}

/** What a script is told with each mini-batch. */
export interface RunContext extends ScorerContext {
  /** The files of the mini-batch, in its order. */
  readonly files: readonly InputFile[];
  /** Their relative paths in the input: the `name` of each. */
  readonly names: readonly string[];
}

/** A single value of a row. */
export type Cell = string | number | bigint | boolean | Date | null;

/** An Arrow table of any release of apache-arrow. */
export interface ArrowTable {
  readonly schema: { readonly fields: readonly unknown[] };
  readonly batches: readonly unknown[];
}

/**
 * What run() gives: one element per output row, all of one kind. Values; objects, whose keys are the columns; arrays or typed arrays,
 * whose columns are `c0`, `c1` and on; or an Arrow table.
 */
export type Rows =
  | readonly Cell[]
  | readonly Readonly<Record<string, unknown>>[]
  | readonly ArrayLike<unknown>[]
  | ArrayLike<number>
  | ArrayLike<bigint>
  | ArrowTable;

/** A scoring script: these functions by name, or an object of them as the default export. */
export interface Scorer {
  /** Called once, before the first mini-batch: load the model here. */
  init?(context: ScorerContext): void | Promise<void>;
  /** Scores a mini-batch: absolute paths of its files. What it throws fails the mini-batch. */
  run(files: string[], context: RunContext): Rows | Promise<Rows>;
  /** Called when no more mini-batches come. */
  shutdown?(): void | Promise<void>;
}
