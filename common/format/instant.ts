/** A point in time as a table has it, where that is finer than a Date can be. */
import type { TimeUnit } from './column-type.ts';
import { timeText } from './text-column.ts';

const perSecond: Readonly<Record<TimeUnit, bigint>> = { s: 1n, ms: 1_000n, us: 1_000_000n, ns: 1_000_000_000n };

export class Instant {
  /** Units since 1970. */
  readonly count: bigint;
  readonly unit: TimeUnit;

  constructor(count: bigint, unit: TimeUnit) {
    this.count = count;
    this.unit = unit;
  }

  /** Milliseconds since 1970, with a fraction for what is finer. */
  get ms(): number {
    const { count, unit } = this;
    if (unit === 's' || unit === 'ms') return Number(count) * (unit === 's' ? 1_000 : 1);
    const perMs = perSecond[unit] / 1_000n;
    return Number(count / perMs) + Number(count % perMs) / Number(perMs);
  }

  /** The whole units of another size, rounded down. */
  in(unit: TimeUnit): bigint {
    const [own, wanted] = [perSecond[this.unit], perSecond[unit]];
    if (wanted >= own) return this.count * (wanted / own);
    const size = own / wanted;
    const rest = ((this.count % size) + size) % size;
    return (this.count - rest) / size;
  }

  toString(): string {
    return timeText(this.ms);
  }

  toJSON(): string {
    return timeText(this.ms).replace(' ', 'T');
  }
}
