/** A point in time as a table has it, where that is finer than a Date can be. */
import type { TimeUnit } from './column-type.ts';
import { instantText, unitsPerSecond } from './time-text.ts';

export class Instant {
  /** Units since 1970. */
  readonly count: bigint;
  readonly unit: TimeUnit;

  constructor(count: bigint, unit: TimeUnit) {
    this.count = count;
    this.unit = unit;
  }

  /** The whole units of another size, rounded down. */
  in(unit: TimeUnit): bigint {
    const [own, wanted] = [unitsPerSecond[this.unit], unitsPerSecond[unit]];
    if (wanted >= own) return this.count * (wanted / own);
    const size = own / wanted;
    const rest = ((this.count % size) + size) % size;
    return (this.count - rest) / size;
  }

  toString(): string {
    return instantText(this.count, this.unit);
  }

  toJSON(): string {
    return this.toString().replace(' ', 'T');
  }
}
