/** What `doctor` asks of machines and what they say: plain data, without a verdict. */

/** The coordinator's question to a worker node. */
export interface Diagnose {
  /** Comes back with the answer. */
  readonly id: number;
  /** Absolute. */
  readonly paths: readonly string[];
}

/** Room on a disk. */
export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** What stands at a path, as far as can be told without reading it. */
export type SeenPath =
  | { readonly kind: 'missing' }
  /** `identity`: size and time of change. */
  | { readonly kind: 'file'; readonly identity: string }
  | {
      readonly kind: 'folder';
      readonly entries: number;
      /** The first by their UTF-8 bytes; any where `hasMore`. */
      readonly names: readonly string[];
      /** There are more entries than were counted. */
      readonly hasMore: boolean;
    }
  /** A device, a pipe or a socket. */
  | { readonly kind: 'other' }
  /** It is not known what is there. */
  | { readonly kind: 'unseen'; readonly problem: string };

/** Python as scoring hosts get it. */
export type Python =
  { readonly path: string; readonly version: string } | { readonly path: null; readonly problem: string };

/** How a worker node's machine is. Times are by its own clock, milliseconds since 1970. */
export interface Diagnosis {
  readonly id: number;
  readonly release: string;
  /** Version of Node. */
  readonly runtime: string;
  /** When the question came, and when the answer was sent. */
  readonly receivedMs: number;
  readonly sentMs: number;
  readonly scratchDir: string;
  /** Of the scratch folder; null: unknown. */
  readonly room: Room | null;
  /** Those that scoring hosts are given. */
  readonly gpus: number;
  /** Why GPUs that are there, or may be, are not given; null: no reason. */
  readonly gpuProblem: string | null;
  readonly python: Python;
  /** The operator named the interpreter. */
  readonly isPythonNamed: boolean;
  /** In the order of the question. */
  readonly paths: readonly SeenPath[];
}
