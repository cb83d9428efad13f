/** When the collector is told to look at the whole heap less often, and when it is left alone. */
import { afterEach, expect, test, vi } from 'vitest';

const v8 = vi.hoisted(() => ({ heapBytes: 0, flags: [] as string[] }));
vi.mock('node:v8', () => ({
  getHeapStatistics: () => ({ used_heap_size: v8.heapBytes }),
  setFlagsFromString: (flag: string) => v8.flags.push(flag),
}));

afterEach(() => void vi.useRealTimers());

test('a small heap may grow to four times its size; of one that has grown V8 decides', async () => {
  vi.useFakeTimers();
  const { easeCollector } = await import('../../common/io/collector.ts');
  v8.heapBytes = 20_000_000;
  easeCollector();
  easeCollector();
  v8.heapBytes = 500_000_000;
  vi.advanceTimersByTime(10_000);
  v8.heapBytes = 30_000_000;
  vi.advanceTimersByTime(10_000);
  const [eased, own] = ['--heap-growing-percent=300', '--heap-growing-percent=0'];
  expect(v8.flags).toEqual([eased, own, eased]);
  expect(vi.getTimerCount()).toBe(1);
});
