/** One file of the input, as listed. Its ordinal is its place in the input order. */
export interface InputFile {
  /** Relative to the input root, forward slashes. */
  readonly path: string;
  readonly sizeBytes: number;
  /** What tells this content from another: `size-mtimeNs` for a local file, an etag in quotes for most others. */
  readonly identity: string;
}

/**
 * Identity of a file that was listed but cannot be looked at: it vanished, may not be read, is a link to nowhere, or its name is not
 * UTF-8. It keeps its place in the input and fails there with INPUT_UNREADABLE, so that no file is passed over in silence.
 */
export const unreadableIdentity = 'unreadable';

/** Files `first` to `first + count − 1` of the input order. */
export interface FileRange {
  readonly first: number;
  readonly count: number;
}
