/**
 * Room for the cells of a call that serves the next one again. Cells lie beside V8's heap but count as added to it: making them anew for every
 * call has the whole heap looked at again and again, which costs more than the cells do.
 */
import type { InputCells } from './file-rows.ts';
import { makeCells, type NumberCells } from './tensor-cells.ts';

/** Keeps the largest room that was given back: most calls of a model are alike. */
export class SpareCells {
  #type = '';
  #cells: NumberCells | null = null;

  /** So many cells of a type of numbers, which hold anything. */
  take(type: string, count: number): NumberCells {
    const spare = this.#cells;
    if (spare === null || this.#type !== type || spare.length < count) return makeCells(type, count);
    this.#cells = null;
    return spare.subarray(0, count);
  }

  /** Cells that were taken, and that nobody uses any more. */
  give({ type, cells }: Pick<InputCells, 'type' | 'cells'>): void {
    if (Array.isArray(cells)) return;
    const whole = new (cells.constructor as new (all: ArrayBufferLike) => NumberCells)(cells.buffer);
    if (this.#cells !== null && this.#type === type && this.#cells.length >= whole.length) return;
    this.#type = type;
    this.#cells = whole;
  }
}
