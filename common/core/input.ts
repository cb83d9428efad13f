/** One entry of the input, as listed: a file, or a part of a large one. Its ordinal is its place in the input order. */
export interface InputFile {
  /** Relative to the input root, forward slashes. */
  readonly path: string;
  /** Of the part, where this is one. */
  readonly sizeBytes: number;
  /** What tells this content from another: `size-mtimeNs` for a local file, an etag in quotes for most others. The same for all parts of a file. */
  readonly identity: string;
  /** Absent: the whole file. */
  readonly part?: FilePart;
}

/**
 * A range of bytes of a file, cut by arithmetic alone. It has the rows that begin within: rows of text by their first byte, row groups
 * of Parquet and record batches of Arrow by theirs. So parts that tile a file have each of its rows exactly once, wherever they are cut.
 */
export interface FilePart {
  readonly begin: number;
  readonly end: number;
  /** Bytes of the whole file. */
  readonly fileBytes: number;
}

/** `big.csv`, or `big.csv, bytes 16777216 to 33554432`: as messages name it. */
export function inputName({ path, part }: Pick<InputFile, 'path' | 'part'>): string {
  return part === undefined ? path : `${path}, bytes ${part.begin} to ${part.end}`;
}

export const samePart = (a: FilePart | undefined, b: FilePart | undefined): boolean =>
  a?.begin === b?.begin && a?.end === b?.end && a?.fileBytes === b?.fileBytes;

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
