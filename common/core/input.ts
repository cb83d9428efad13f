/** One file of the input, as listed. Its ordinal is its place in the input order. */
export interface InputFile {
  /** Relative to the input root, forward slashes. */
  readonly path: string;
  readonly sizeBytes: number;
  /** What tells this content from another: `size-mtimeNs` for a local file. */
  readonly identity: string;
}

/** Files `first` to `first + count − 1` of the input order. */
export interface FileRange {
  readonly first: number;
  readonly count: number;
}
