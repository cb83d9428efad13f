/** One line on stderr that says how far it is: redrawn on a terminal, a plain line now and then elsewhere. */
import type { Clock } from '../common/io/clock.ts';
import type { Sink } from './output.ts';

/** Faster than the eye is of no use, and every redraw costs a system call. */
const redrawMs = 100;
/** In a log file a line every so often shows life without filling it. */
const plainLineMs = 10_000;

export interface ProgressLine {
  update(text: string): void;
  /** Takes the line away, so that something else can be written. */
  clear(): void;
}

export function createProgress(sink: Sink, clock: Clock): ProgressLine {
  let drawn = false;
  let last = '';
  let lastMs = -Infinity;
  const isDue = (text: string, everyMs: number): boolean => {
    if (text === last || clock.monotonic() - lastMs < everyMs) return false;
    [last, lastMs] = [text, clock.monotonic()];
    return true;
  };
  return {
    update: (text) => {
      if (!isDue(text, sink.isTerminal ? redrawMs : plainLineMs)) return;
      if (!sink.isTerminal) return sink.write(`${text}\n`);
      // A line that wraps cannot be taken back by a carriage return.
      sink.write(`\r\x1b[2K${[...text].slice(0, sink.columns - 1).join('')}`);
      drawn = true;
    },
    clear: () => {
      if (drawn) sink.write('\r\x1b[2K');
      drawn = false;
      last = '';
    },
  };
}
