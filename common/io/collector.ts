/**
 * How often V8's collector looks at the whole heap. Bytes of results lie beside the heap, but count as if they had been added to it: a process whose own objects
 * are few had all of them looked at for every ten megabytes that went through it, which cost more than the bytes did.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** While the heap is as small, it may become four times as large before all of it is looked at: the most that V8 would let it by itself. */
const smallHeapBytes = 67_108_864;
const lookEveryMs = 10_000;

/** For as long as the process lives. Said again, nothing changes. */
export function easeCollector(): void {
  if (isEased) return;
  isEased = true;
  look();
  setInterval(look, lookEveryMs).unref();
}

let isEased = false;

/** Of a heap that has grown V8 knows best. */
function look(): void {
  const isSmall = getHeapStatistics().used_heap_size <= smallHeapBytes;
  setFlagsFromString(`--heap-growing-percent=${isSmall ? 300 : 0}`);
}
