/** The columns of the table of mini-batches, one entry for each: what a snapshot of the journal holds of them. */

/** Their numbers are in snapshots: new ones go to the end. */
export const batchStates = [
  'pending',
  'waiting',
  'leased',
  'placed',
  'committed',
  'split',
  'quarantined',
  'uncut',
] as const;
export type BatchState = (typeof batchStates)[number];

export const stateNumber = Object.fromEntries(batchStates.map((state, index) => [state, index])) as Record<
  BatchState,
  number
>;

/** One entry for each mini-batch. What is added here is in every snapshot of the journal by itself. */
export interface Columns {
  first: Uint32Array<ArrayBuffer>;
  files: Uint32Array<ArrayBuffer>;
  next: Int32Array<ArrayBuffer>;
  state: Uint8Array<ArrayBuffer>;
  failures: Uint8Array<ArrayBuffer>;
  crashes: Uint8Array<ArrayBuffer>;
  lost: Uint8Array<ArrayBuffer>;
  memory: Uint8Array<ArrayBuffer>;
  isPart: Uint8Array<ArrayBuffer>;
  segment: Int32Array<ArrayBuffer>;
  offset: Float64Array<ArrayBuffer>;
  length: Float64Array<ArrayBuffer>;
  crc32: Uint32Array<ArrayBuffer>;
  rows: Uint32Array<ArrayBuffer>;
  schema: Int16Array<ArrayBuffer>;
  epoch: Uint32Array<ArrayBuffer>;
  counter: Uint32Array<ArrayBuffer>;
  node: Uint16Array<ArrayBuffer>;
  bytes: Float64Array<ArrayBuffer>;
}

export type BatchColumns = Readonly<Columns>;

export function newColumns(capacity: number): Columns {
  return {
    first: new Uint32Array(capacity),
    files: new Uint32Array(capacity),
    next: new Int32Array(capacity),
    state: new Uint8Array(capacity),
    failures: new Uint8Array(capacity),
    crashes: new Uint8Array(capacity),
    lost: new Uint8Array(capacity),
    memory: new Uint8Array(capacity),
    isPart: new Uint8Array(capacity),
    segment: new Int32Array(capacity),
    offset: new Float64Array(capacity),
    length: new Float64Array(capacity),
    crc32: new Uint32Array(capacity),
    rows: new Uint32Array(capacity),
    schema: new Int16Array(capacity),
    epoch: new Uint32Array(capacity),
    counter: new Uint32Array(capacity),
    node: new Uint16Array(capacity),
    bytes: new Float64Array(capacity),
  };
}

/** Copies each column of `from` to the start of the same one of `to`. */
export function copyColumns(from: BatchColumns, to: Columns, count: number): Columns {
  for (const name of Object.keys(to) as (keyof Columns)[]) to[name].set(from[name].subarray(0, count));
  return to;
}

/** A table as it stands in a snapshot: `columns` has exactly one entry for each mini-batch. */
export interface TableImage {
  readonly head: number;
  readonly tail: number;
  readonly columns: BatchColumns;
}
