/** How long slots had nothing to score, from what `hash-rows.mjs` has traced. */
import { readFileSync } from 'node:fs';

export interface Window {
  /** Milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
}

export interface Idleness {
  /** Of all slots together. */
  readonly seconds: number;
  /** The longest time between two mini-batches on one slot. */
  readonly longestMs: number;
  /** Slots that have scored before the window began. */
  readonly slots: number;
}

/** `path`: the file that TRACE names. A slot is the process of its scoring host. */
export function idleness(path: string, { from, to }: Window): Idleness {
  let total = 0;
  let longestMs = 0;
  const slots = hostsOf(path).filter((times) => (times[0]?.at ?? Infinity) < from);
  for (const times of slots) {
    for (const [index, { isEnd, at }] of times.entries()) {
      if (!isEnd) continue;
      const idleMs = Math.min(to, times[index + 1]?.at ?? to) - Math.max(from, at);
      total += Math.max(0, idleMs);
      longestMs = Math.max(longestMs, idleMs);
    }
  }
  return { seconds: Math.round(total / 10) / 100, longestMs, slots: slots.length };
}

/** Begins and ends of run(), in order, for each host. */
function hostsOf(path: string): readonly (readonly { readonly isEnd: boolean; readonly at: number }[])[] {
  const hosts = new Map<string, { readonly isEnd: boolean; readonly at: number }[]>();
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [what, , , , pid, at] = line.split(' ');
    if (pid === undefined) continue;
    const times = hosts.get(pid) ?? [];
    hosts.set(pid, times);
    times.push({ isEnd: what === 'end', at: Number(at) });
  }
  return [...hosts.values()];
}
