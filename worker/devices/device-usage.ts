/** How full and how busy GPUs are, as their driver tells of it. */

export interface DeviceUsage {
  /** As {@link Device.id}. */
  readonly id: string;
  readonly usedBytes: number;
  /** Null: unknown. */
  readonly totalBytes: number | null;
  /** Of the time since the look before, as the driver counts it; null: unknown, as of instances. */
  readonly busyPercent: number | null;
  /** Programs that hold memory of it; null: unknown. */
  readonly processes: readonly DeviceProcess[] | null;
}

export interface DeviceProcess {
  readonly pid: number;
  /** Its program; empty: unknown. */
  readonly name: string;
  /** Null: unknown. */
  readonly bytes: number | null;
}

/** How a driver's program is asked for figures. */
export interface UsageQuery {
  readonly args: readonly string[];
  /** What stands behind each look of a program that goes on looking; null: it looks once and ends. */
  readonly lookEnd: string | null;
  /** Figures of one look; none where the text is no such. */
  readonly read: (text: string) => readonly DeviceUsage[];
}

/**
 * One clause for whoever's scoring host found the GPU full: how full it is, and how much other people's programs hold.
 * `isOwn`: whether a process belongs to a scoring host of this worker node.
 */
export function fullText(name: string, usage: DeviceUsage, isOwn: (pid: number) => boolean): string {
  const { usedBytes, totalBytes, processes } = usage;
  const total = totalBytes === null ? '' : ` of ${gigabytes(totalBytes)}`;
  const full = `GPU ${name} has ${gigabytes(usedBytes)}${total} GB in use now`;
  if (processes === null) return full;
  if (processes.length === 0) return `${full}, and the driver names no program that holds them`;
  const others = processes.filter(({ pid }) => !isOwn(pid)).sort((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0));
  const [largest] = others;
  if (!largest) return `${full}, none of it by programs other than scoring hosts of this worker node`;
  const known = others.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
  const amount = others.some(({ bytes }) => bytes === null) ? '' : `${gigabytes(known)} GB of it `;
  const programs = others.length === 1 ? '1 other program' : `${others.length} other programs`;
  const which = `process ${largest.pid}${largest.name === '' ? '' : ` ${largest.name}`}`;
  return `${full}, ${amount}by ${programs} than scoring hosts of this worker node (${others.length === 1 ? '' : 'the largest: '}${which})`;
}

function gigabytes(bytes: number): string {
  return (bytes / 1_073_741_824).toFixed(1);
}
