/** Rows of several files on their way into one call of a model. */
import type { FileRows, InputCells, RowToPut } from './file-rows.ts';
import type { SpareCells } from './spare-cells.ts';
import { joinCells, repeatRow, sliceCells } from './tensor-cells.ts';

/** Rows of one file, `first` of them being the file's row of that number. */
interface Piece {
  readonly fileIndex: number;
  readonly first: number;
  readonly rows: number;
  readonly inputs: readonly (InputCells | RowToPut)[];
}

/** Where rows of a call come from: `rows` rows of the file at `fileIndex`, from its row `first` on. */
export interface BatchSpan {
  readonly fileIndex: number;
  readonly first: number;
  readonly rows: number;
}

/** One call: its input tensors, and the rows in them that are no padding. */
export interface ModelCall {
  readonly inputs: readonly InputCells[];
  /** First dimension of the tensors. */
  readonly rows: number;
  readonly spans: readonly BatchSpan[];
  /** Those of them that are to be given back to the spare ones once the call is over. */
  readonly lent: readonly InputCells[];
}

export interface RowBatchOptions {
  /** Rows that the model wants in every call; null: any number. */
  readonly batch: number | null;
  /** May change from call to call. */
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** Rows beyond `rowsMin` end a call that has so many bytes. */
  readonly cachedBytes: number;
  readonly rowsMin: number;
  /** Where rows are put that are put by their reader. */
  readonly spare: SpareCells;
}

/** Gathers rows until a call is full. Only rows of equal dimensions share a call. */
export class RowBatch {
  readonly #options: RowBatchOptions;
  #pieces: Piece[] = [];
  #rows = 0;

  constructor(options: RowBatchOptions) {
    this.#options = options;
  }

  /** Takes rows of a file and gives the calls that are full now. */
  add(fileIndex: number, first: number, added: FileRows<InputCells | RowToPut>): ModelCall[] {
    const calls: ModelCall[] = [];
    const held = this.#pieces[0];
    if (held && shapeOf(held.inputs) !== shapeOf(added.inputs)) calls.push(...this.flush());
    const callRows = callRowsOf(added, this.#options);
    // Calls have become smaller since.
    if (this.#rows >= callRows) calls.push(...this.flush());
    for (let at = 0; at < added.rows;) {
      const rows = Math.min(callRows - this.#rows, added.rows - at);
      const inputs = added.inputs.map((input) => (isToPut(input) ? input : cut(input, at, rows)));
      this.#pieces.push({ fileIndex, first: first + at, rows, inputs });
      this.#rows += rows;
      at += rows;
      if (this.#rows >= callRows) calls.push(...this.flush());
    }
    return calls;
  }

  /** Forgets the rows of a file that are not in a call yet: it cannot be read to its end. */
  drop(fileIndex: number): void {
    this.#pieces = this.#pieces.filter((piece) => piece.fileIndex !== fileIndex);
    this.#rows = this.#pieces.reduce((sum, piece) => sum + piece.rows, 0);
  }

  /** The call of what is left, none when nothing is. */
  flush(): ModelCall[] {
    const [pieces, rows] = [this.#pieces, this.#rows];
    const [head] = pieces;
    if (!head) return [];
    this.#pieces = [];
    this.#rows = 0;
    const callRows = this.#options.batch ?? rows;
    const lent: InputCells[] = [];
    const inputs = head.inputs.map(({ name, type, dims }, i): InputCells => {
      const stride = strideOf({ dims });
      const parts = pieces.map((piece) => piece.inputs[i] as InputCells | RowToPut);
      if (!parts.every(isToPut)) {
        const cells = (parts as InputCells[]).map((part) => part.cells);
        return { name, type, dims, cells: joinCells(type, cells, callRows * stride, stride) };
      }
      const cells = this.#options.spare.take(type, callRows * stride);
      parts.forEach(({ put }, row) => put(cells, row * stride));
      repeatRow(cells, rows * stride, stride);
      const input = { name, type, dims, cells };
      lent.push(input);
      return input;
    });
    const spans = pieces.map(({ fileIndex, first, rows: count }) => ({ fileIndex, first, rows: count }));
    return [{ inputs, rows: callRows, spans, lent }];
  }
}

/** The first `rows` rows of a call without padding, and the others, which see its cells. */
export function cutCall({ inputs, rows: all, spans }: ModelCall, rows: number): readonly [ModelCall, ModelCall] {
  const heads: BatchSpan[] = [];
  const tails: BatchSpan[] = [];
  let at = 0;
  for (const { fileIndex, first, rows: count } of spans) {
    const own = Math.max(0, Math.min(count, rows - at));
    if (own > 0) heads.push({ fileIndex, first, rows: own });
    if (own < count) tails.push({ fileIndex, first: first + own, rows: count - own });
    at += count;
  }
  const part = (from: number, count: number): readonly InputCells[] => inputs.map((input) => cut(input, from, count));
  return [
    { inputs: part(0, rows), rows, spans: heads, lent: [] },
    { inputs: part(rows, all - rows), rows: all - rows, spans: tails, lent: [] },
  ];
}

/** Rows of a full call of rows like these. */
function callRowsOf(added: FileRows<InputCells | RowToPut>, options: RowBatchOptions): number {
  if (options.batch !== null) return options.batch;
  const { rowsMax, rowsMin, bytesMax, cachedBytes } = options;
  const rowBytes = Math.max(
    1,
    added.inputs.reduce((sum, input) => sum + strideOf(input) * cellBytesOf(input), 0),
  );
  const cached = Math.max(rowsMin, Math.floor(cachedBytes / rowBytes));
  return Math.max(1, Math.min(rowsMax, cached, Math.floor(bytesMax / rowBytes)));
}

/** A text counts as much as the reference to it. */
function cellBytesOf(input: InputCells | RowToPut): number {
  if (isToPut(input)) return input.cellBytes;
  return Array.isArray(input.cells) ? 8 : input.cells.BYTES_PER_ELEMENT;
}

const isToPut = (input: InputCells | RowToPut): input is RowToPut => 'put' in input;

function cut(input: InputCells, first: number, rows: number): InputCells {
  return { ...input, cells: sliceCells(input.cells, first, rows, strideOf(input)) };
}

const strideOf = ({ dims }: Pick<InputCells, 'dims'>): number => dims.reduce((product, dim) => product * dim, 1);
const shapeOf = (inputs: readonly Pick<InputCells, 'dims'>[]): string =>
  inputs.map((input) => input.dims.join()).join(';');
