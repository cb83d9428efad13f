/** Lines of a sealed output folder, as people and programs read them: JSON, Azure's snake_case. */
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { CircumstancesView } from '../views/circumstances.ts';

/** One input file in `_manifest/files-*.jsonl`; every file of the input has exactly one, in input order. */
export interface FileLine {
  readonly ordinal: number;
  /** Relative to the input root. */
  readonly path: string;
  /** Of the part, where this is one. */
  readonly size_bytes: number;
  /** Which bytes of a large file that was shared out: the rows that begin there. Absent: all. */
  readonly part?: FileLinePart | undefined;
  /** What told this content from another when it was listed. */
  readonly identity: string;
  /** `unscored`: the job ended before its turn came. */
  readonly status: 'scored' | 'failed' | 'unscored';
  /** True for a scored one whose rows were taken from an earlier output: no attempt, no node. Absent before format 3. */
  readonly taken?: boolean | undefined;
  /** Null where rows are known for the whole mini-batch only. */
  readonly rows: number | null;
  /** First ordinal and number of files of its mini-batch; null when it was never cut. */
  readonly mini_batch: readonly [first: number, count: number] | null;
  /** Fencing token of the attempt that was committed: `7.12`. */
  readonly attempt: string | null;
  /** Attempts at it so far as they ended: failed, lost with their node, committed. Absent in format 1. */
  readonly attempts?: number | undefined;
  readonly node: string | null;
  /** Why it failed. */
  readonly code: ErrorCode | null;
}

export type FileLinePart = readonly [begin: number, end: number];

/** One failed file in `_errors.jsonl`, in input order. */
export interface ErrorLine extends CircumstancesView {
  readonly ordinal: number;
  readonly path: string;
  /** As in the line of the file. */
  readonly part?: FileLinePart | undefined;
  readonly code: ErrorCode;
  readonly message: string;
  /** A traceback, the end of stderr; empty when there is none. */
  readonly detail: string;
  readonly tries: number;
  readonly node: string | null;
}

/** A file of the folder, as `_manifest.json` names it. */
export interface SealedFile {
  /** Relative to the output folder. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** A file that user code wrote: in `_manifest.json` itself, or when they are many in `_manifest/custom-*.jsonl`; sorted by path. */
export interface CustomFileLine extends SealedFile {
  /** Mini-batches that have written or appended to it. */
  readonly mini_batches: number;
  /** The name that user code gave it, where something else stood under that name already. */
  readonly wanted_path?: string | undefined;
  /** Of a part of the output, made of the job's rows; absent for what user code wrote. */
  readonly rows?: number | undefined;
}

export interface CustomCounts {
  readonly files: number;
  readonly bytes: number;
  /** Times that a file was written whole over what an earlier mini-batch had left under its name. */
  readonly overwritten: number;
  /** Why the files of a job that failed or was canceled are not here; null otherwise. */
  readonly error: string | null;
}

/**
 * A run of mini-batches as it lies in the output file. Segments tile its bytes and, by `first` and `files`, its input files; the
 * text before the first row is a segment of its own without files.
 */
export interface SegmentLine {
  readonly offset: number;
  readonly bytes: number;
  /** CRC-32 (zlib's) of the bytes as committed, eight hex digits. */
  readonly crc32: string;
  /** Ordinal of its first input file, and how many follow; failed ones and those without rows are counted. */
  readonly first: number;
  readonly files: number;
  readonly rows: number;
  /** Mini-batches that were committed. */
  readonly mini_batches: number;
}

/** Counted from the lines themselves as they were written: files = scored + failed + unscored. */
export interface SealedTotals {
  readonly files: number;
  readonly scored: number;
  readonly failed: number;
  readonly unscored: number;
  /** Of the scored ones, those whose rows were taken from an earlier output. Absent before format 3. */
  readonly taken?: number | undefined;
  readonly input_bytes: number;
  /** Of the output file; null without one. */
  readonly rows: number | null;
  readonly output_bytes: number | null;
}

/** The public half of the key that the manifest is signed with. @source RFC 8037 */
export interface SignedBy {
  /** Thumbprint of the key. @source RFC 7638 */
  readonly key_id: string;
  readonly jwk: { readonly kty: 'OKP'; readonly crv: 'Ed25519'; readonly x: string };
}

export interface SealedChunk extends SealedFile {
  readonly lines: number;
}

/** What {@link sealOutput} adds to the header that it is given. */
export interface SealedOutput {
  readonly format: number;
  /** Of the output: grows when a job that had ended went on and rows were put between those in place. */
  readonly generation: number;
  readonly verdict: 'Completed' | 'Failed' | 'Canceled';
  /** Null with summary_only, and for a job that ended before it had an output file. */
  readonly output: SealedFile | null;
  readonly files: readonly SealedChunk[];
  /** Null when no file failed. */
  readonly errors: SealedChunk | null;
  /** Files that user code wrote; empty when they are so many that `custom_chunks` name them. */
  readonly custom_files: readonly CustomFileLine[];
  readonly custom_chunks: readonly SealedChunk[];
  readonly custom_counts: CustomCounts;
  /** Where its mini-batches lie in the output; empty without one. Absent in format 1, as is the rest. */
  readonly segments: readonly SealedChunk[];
  readonly totals: SealedTotals;
  /** Null when it is not signed. */
  readonly signed_by: SignedBy | null;
}
