/**
 * How much memory scoring hosts use, each with all that it started: one reader for all hosts of a node, at work only
 * while one of them is; and how much processor time they have used. Linux only; elsewhere nothing is known and nothing is
 * limited.
 */
import { limits } from '../../common/core/limits.ts';
import { GroupSearch, readProc, statFields } from './process-groups.ts';

export interface WatchedHost {
  /** Of the host and of its process group. */
  readonly pid: number;
  /** Null: no limit. */
  readonly bytesMax: number | null;
  /** Called again at every look as long as it stands above its limit. */
  readonly onExceeded: (usedBytes: number) => void;
}

/** Looks between two searches for new processes: going through all of /proc costs more than reading a few. */
const looksPerSearch = 5;

export class MemoryReading {
  readonly host: WatchedHost;
  isBusy = false;
  #peakBytes: number | null = null;
  #everBytes: number | null = null;
  #oomKills: number | null = null;
  #cpuSeconds = 0;
  #askedAt = -Infinity;
  #cpuLookAt = -Infinity;

  constructor(host: WatchedHost) {
    this.host = host;
  }

  /** Forgets the peak and is looked at until {@link end}. */
  begin(): void {
    this.isBusy = true;
    this.#peakBytes = null;
    this.#oomKills = watch.oomKills;
    watch.wake();
  }

  end(): void {
    this.isBusy = false;
  }

  /** Of all looks since {@link begin} and of now; null when there was none, which is so of what took no time. */
  peakBytes(): number | null {
    const now = residentBytes(this.host.pid);
    if (now > 0) this.note(now);
    return this.#peakBytes;
  }

  note(bytes: number): void {
    this.#peakBytes = Math.max(this.#peakBytes ?? 0, bytes);
    this.#everBytes = Math.max(this.#everBytes ?? 0, bytes);
  }

  /** The most since the host began; of what it started, as far as somebody looked. Null when nobody knows. */
  everBytes(): number | null {
    const own = statusBytes(this.host.pid, 'VmHWM');
    return own > 0 ? Math.max(own, this.#everBytes ?? 0) : this.#everBytes;
  }

  /**
   * Processor time since it was asked last (at first: since the host began), to 10 ms; null when the host has ended. What
   * `tookMs` was shorter than those has used nothing, as far as the system knows; it is told with a later one, for the look costs more
   * than many a mini-batch. `at`: monotonic milliseconds.
   */
  takeCpuSeconds(at: number, tookMs: number): number | null {
    // What waited behind another has had its turn since that one ended.
    const turnMs = Math.min(tookMs, at - this.#askedAt);
    this.#askedAt = at;
    const isShort = tookMs < Infinity && turnMs < 1_000 / ticksPerSecond;
    if (isShort && at - this.#cpuLookAt < cpuLookMs) return 0;
    this.#cpuLookAt = at;
    const now = cpuSeconds(this.host.pid);
    if (now === null) return null;
    const spent = now - this.#cpuSeconds;
    this.#cpuSeconds = now;
    return Math.round(spent * 100) / 100;
  }

  /** Whether the kernel has killed any process for want of memory since a look before {@link begin}. */
  hasKernelKilled(): boolean {
    const kills = readOomKills();
    watch.oomKills = kills;
    return kills !== null && this.#oomKills !== null && kills > this.#oomKills;
  }
}

class MemoryWatch {
  oomKills: number | null = readOomKills();
  readonly #readings = new Set<MemoryReading>();
  #members: ReadonlyMap<number, readonly number[]> = new Map();
  readonly #search = new GroupSearch();
  #looks = 0;
  #timer: NodeJS.Timeout | null = null;

  add(reading: MemoryReading): void {
    this.#readings.add(reading);
  }

  remove(reading: MemoryReading): void {
    this.#readings.delete(reading);
  }

  wake(): void {
    this.#timer ??= setInterval(() => this.#look(), limits.memoryLookMs).unref();
  }

  #look(): void {
    const busy = [...this.#readings].filter(({ isBusy }) => isBusy);
    if (busy.length === 0) {
      if (this.#timer) clearInterval(this.#timer);
      this.#timer = null;
      return;
    }
    if (this.#looks % looksPerSearch === 0 || busy.some(({ host }) => !this.#members.has(host.pid))) {
      // Of all hosts: one that is idle now must not be taken for somebody else's.
      this.#members = this.#search.find(new Set([...this.#readings].map(({ host }) => host.pid)));
    }
    this.#looks += 1;
    for (const reading of busy) this.#lookAt(reading);
  }

  #lookAt(reading: MemoryReading): void {
    const { pid, bytesMax, onExceeded } = reading.host;
    const members = this.#members.get(pid) ?? [pid];
    const resident = sum(members, residentBytes);
    if (resident === 0) return;
    reading.note(resident);
    if (bytesMax === null || resident <= bytesMax) return;
    // Pages that processes share count for each of them above, and only once here, which takes longer to find out.
    const used = members.length === 1 ? resident : sum(members, proportionalBytes);
    if (used > bytesMax) onExceeded(used);
  }
}

const watch = new MemoryWatch();

/** From now on; the caller says when it is at work. */
export function watchMemory(host: WatchedHost): MemoryReading {
  const reading = new MemoryReading(host);
  watch.add(reading);
  return reading;
}

export function unwatchMemory(reading: MemoryReading): void {
  reading.end();
  watch.remove(reading);
}

function sum(pids: readonly number[], bytesOf: (pid: number) => number): number {
  return pids.reduce((total, pid) => total + bytesOf(pid), 0);
}

const residentBytes = (pid: number): number => statusBytes(pid, 'VmRSS');

/** 0 when there is no such process. */
function statusBytes(pid: number, key: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(readProc(`/proc/${pid}/status`))?.[1] ?? 0) * 1_024;
}

/** In `/proc/PID/stat`. @source proc(5): USER_HZ, which is 100 on every architecture that Node runs on */
const ticksPerSecond = 100;

/** Between two looks at the processor time of a host whose mini-batches are short. */
const cpuLookMs = 200;

/** User and system time of a process and of its children that have ended; null when there is no such process. */
function cpuSeconds(pid: number): number | null {
  const ticks = statFields(readProc(`/proc/${pid}/stat`)).slice(11, 15);
  return ticks.length < 4 ? null : ticks.reduce((total, text) => total + Number(text), 0) / ticksPerSecond;
}

function proportionalBytes(pid: number): number {
  const bytes = Number(/^Pss:\s+(\d+) kB$/m.exec(readProc(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1_024;
  return bytes > 0 ? bytes : residentBytes(pid);
}

/** Kills of the whole machine so far, those within a control group included; null where the kernel does not say. */
function readOomKills(): number | null {
  const found = /^oom_kill (\d+)$/m.exec(readProc('/proc/vmstat'))?.[1];
  return found === undefined ? null : Number(found);
}
