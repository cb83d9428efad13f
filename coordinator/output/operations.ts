/** What the output writer is asked to do, as plain data, and how a group of it becomes writes. */

export interface StagedSlice {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
  readonly crc32: number;
}

export type OutputOperation =
  /** Bytes that are next in order, at an absolute offset of the output file. */
  | { readonly kind: 'append'; readonly id: number; readonly offset: number; readonly pieces: readonly Uint8Array[] }
  /** Bytes that are ahead of their turn, at an absolute offset of a staging segment. */
  | {
      readonly kind: 'stage';
      readonly id: number;
      readonly segment: number;
      readonly offset: number;
      readonly pieces: readonly Uint8Array[];
    }
  /** Staged bytes whose turn has come: one behind the other to `toOffset` of the output file. */
  | { readonly kind: 'copy'; readonly id: number; readonly from: readonly StagedSlice[]; readonly toOffset: number }
  /** A segment that was uploaded by itself is complete, and is to be made durable. */
  | { readonly kind: 'adopt'; readonly id: number; readonly segment: number }
  /** No bytes; done in its turn like any other. */
  | { readonly kind: 'none'; readonly id: number }
  /** All of a segment has been copied, durably. */
  | { readonly kind: 'drop'; readonly id: number; readonly segment: number };

/** `null` is the output file, a number a staging segment. */
export type Target = number | null;

export interface PlannedWrite {
  readonly target: Target;
  readonly offset: number;
  readonly pieces: readonly Uint8Array[];
}

/** One group in the order in which it is carried out: writes and copies, one sync of each of `touched`, then the drops. */
export interface OutputPlan {
  readonly steps: readonly (
    | ({ readonly kind: 'write' } & PlannedWrite)
    | { readonly kind: 'copy'; readonly from: readonly StagedSlice[]; readonly toOffset: number }
  )[];
  readonly touched: readonly Target[];
  readonly adopted: readonly number[];
  readonly dropped: readonly number[];
}

/** Neighbouring bytes become one write. A copy stands behind all writes before it, as it may read what they staged. */
export function planGroup(operations: readonly OutputOperation[]): OutputPlan {
  const steps: OutputPlan['steps'][number][] = [];
  const runs = new Map<Target, { offset: number; end: number; pieces: Uint8Array[] }>();
  const touched = new Set<Target>();
  const adopted: number[] = [];
  const dropped: number[] = [];
  const flush = (target: Target): void => {
    const run = runs.get(target);
    if (run) steps.push({ kind: 'write', target, offset: run.offset, pieces: run.pieces });
    runs.delete(target);
  };
  const write = (target: Target, offset: number, pieces: readonly Uint8Array[]): void => {
    if (runs.get(target)?.end !== offset) flush(target);
    const run = runs.get(target) ?? { offset, end: offset, pieces: [] };
    for (const piece of pieces) run.pieces.push(piece);
    run.end += byteLength(pieces);
    runs.set(target, run);
    touched.add(target);
  };
  for (const operation of operations) {
    switch (operation.kind) {
      case 'append':
        write(null, operation.offset, operation.pieces);
        break;
      case 'stage':
        write(operation.segment, operation.offset, operation.pieces);
        break;
      case 'copy':
        for (const target of [...runs.keys()]) flush(target);
        steps.push({ kind: 'copy', from: operation.from, toOffset: operation.toOffset });
        touched.add(null);
        break;
      case 'adopt':
        adopted.push(operation.segment);
        break;
      case 'drop':
        dropped.push(operation.segment);
        break;
      case 'none':
        break;
    }
  }
  for (const target of [...runs.keys()]) flush(target);
  return { steps, touched: [...touched], adopted, dropped };
}

/** Bytes that an operation moves. */
export function operationBytes(operation: OutputOperation): number {
  switch (operation.kind) {
    case 'append':
    case 'stage':
      return byteLength(operation.pieces);
    case 'copy':
      return operation.from.reduce((sum, slice) => sum + slice.length, 0);
    case 'adopt':
    case 'none':
    case 'drop':
      return 0;
  }
}

function byteLength(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}
