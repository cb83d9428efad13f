/** Gives up on what says nothing for too long. */

export interface Silence {
  /** Aborts when nothing has been heard for so long, or with the given signal. */
  readonly signal: AbortSignal;
  /** Something was heard. */
  heard(): void;
  close(): void;
}

export function silenceAfter(ms: number, signal: AbortSignal): Silence {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(new Error(`nothing was heard for ${ms / 1_000} s`)), ms);
  return {
    signal: AbortSignal.any([signal, over.signal]),
    heard: () => void timer.refresh(),
    close: () => clearTimeout(timer),
  };
}
