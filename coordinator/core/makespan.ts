/** How long mini-batches take on some slots, in whatever unit their work is given. */

/** Each mini-batch in turn goes to the slot that is free first; the result is when the last slot is done. */
export function makespanOf(works: ArrayLike<number>, slots: number): number {
  // A heap: the slot that is free first stands at the top.
  const freeAt = new Float64Array(Math.max(1, slots));
  let last = 0;
  for (let index = 0; index < works.length; index += 1) {
    const done = (freeAt[0] as number) + (works[index] as number);
    if (done > last) last = done;
    sinkTop(freeAt, done);
  }
  return last;
}

/** The same with the longest mini-batch first, the next longest second, and so on. */
export function longestFirstMakespanOf(works: ArrayLike<number>, slots: number): number {
  return makespanOf(Float64Array.from(works).sort().reverse(), slots);
}

/** Puts `value` in place of the smallest one. */
function sinkTop(heap: Float64Array, value: number): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child += 1;
    if ((heap[child] as number) >= value) break;
    heap[at] = heap[child] as number;
    at = child;
  }
  heap[at] = value;
}
