/**
 * Messages between worker node and scoring host, as `docs/host-protocol.md` tells them for authors in other languages.
 * All payloads are UTF-8 JSON except `rows`, which is bytes of the output as they will stand in the file.
 */
import type { Failure } from './batch-error.ts';
import type { DeploymentSettings, Scorer } from './deployment.ts';
import type { ResultSummary } from './result.ts';

/** Frame types; the first half goes to the host, the second comes from it. */
export const hostFrame = {
  init: 1,
  score: 2,
  stop: 3,
  ready: 65,
  rows: 66,
  done: 67,
  failed: 68,
  returned: 69,
} as const;

/** First frame to the host; answered by `ready` or `failed`. */
export interface HostInit {
  readonly scorer: Scorer;
  readonly settings: Pick<DeploymentSettings, 'outputFormat' | 'outputForm' | 'outputAction' | 'loggingLevel'>;
  /** Folder that holds the model under its basename (AZUREML_MODEL_DIR); null without a model. */
  readonly modelDir: string | null;
  /** The model itself: `modelDir`/basename; null without a model. */
  readonly modelPath: string | null;
  /** Absolute path of the code folder; null without code. */
  readonly codeDir: string | null;
  /** Folder of this host for files that user code writes (AZUREML_BI_OUTPUT_PATH); exists; absolute. */
  readonly customDir: string;
  /** Folder for logs that user code keeps by itself (EntryScript, MLflow); absolute; made when needed. */
  readonly logDir: string;
  readonly job: string;
  readonly node: string;
  /** Number of the host within its job on this node, from 0: `processNNN` in the log tree. */
  readonly process: number;
  /** What `HostDone.callSize` said of the same model and code on such a device; left out: nobody knows. */
  readonly callSize?: number;
}

/** The host has called init() and takes mini-batches. */
export interface HostReady {
  readonly pid: number;
  /** Seconds from process start to here. */
  readonly initSeconds: number;
  /** It takes mini-batches before it has answered the last; hosts that do not leave it out. */
  readonly queues?: boolean | undefined;
}

/** One mini-batch; answered by any number of `rows` and then `done`, by `failed`, or by `returned`. One after the other. */
export interface HostScore {
  /** Drawn by the worker node; returned in the answer and written on the side channel. */
  readonly sequence: number;
  /** Ordinal of the first file in the job's input order. */
  readonly first: number;
  /** `name:type` of the columns that the rows are to be widened to; left out: as the scorer gives them. */
  readonly columns?: readonly string[];
  /** Sent before the last one was answered: not to be begun while there are files in `customDir`. */
  readonly queued?: boolean;
  readonly files: readonly HostFile[];
}

export interface HostFile {
  /** Absolute path of a local copy; basename as in the input. */
  readonly path: string;
  /** Relative path in the input, as the rows name it. */
  readonly name: string;
  /** Absent: all of the file. */
  readonly part?: HostPart;
}

/** Which rows of a file are meant. Of a copy that was fetched for it, only the bytes that it names are there, at their own places. */
export type HostPart =
  /** Whole rows of text. */
  | {
      readonly kind: 'text';
      readonly begin: number;
      readonly end: number;
      /** Bytes of the beginning of the file that tell its columns: of CSV the header and the first row, else the first lines. */
      readonly head: number;
      /** Rows of the file before it. */
      readonly row: number;
      /** Number of the line where it begins, from 1. */
      readonly line: number;
    }
  /** Row groups of Parquet, record batches of an Arrow file. */
  | { readonly kind: 'groups'; readonly first: number; readonly count: number; readonly row: number };

export interface HostDone extends Omit<ResultSummary, 'peakMemoryBytes'> {
  readonly sequence: number;
  /** Of all `rows` payloads since the mini-batch began. */
  readonly bytes: number;
  /** Paths within `customDir` of files that were opened for appending since the answer before; hosts that cannot tell leave it out. */
  readonly appended?: readonly string[] | undefined;
  /** Rows, or files of a script, of one call that were found to be best on its device; left out when nothing was found. */
  readonly callSize?: number | undefined;
  /** There is no file in `customDir`; hosts that have not looked leave it out. */
  readonly isFolderEmpty?: boolean | undefined;
}

/** A queued mini-batch has not been begun, and will not be. */
export interface HostReturned {
  readonly sequence: number;
}

/** init() (sequence 0) or a mini-batch failed; the host lives on and takes the next one unless it exits. */
export interface HostFailed extends Failure {
  readonly sequence: number;
  /** Place within the mini-batch of the file that was open last; −1 when unknown. */
  readonly fileIndex: number;
}
