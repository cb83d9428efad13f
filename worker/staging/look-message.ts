/**
 * What goes to the thread that looks at files, and what comes back: one text each way, which is copied at once, where a list of
 * texts is taken apart and put together again.
 */

export interface LookRequest {
  readonly id: number;
  /** Absolute, {@link joined}. */
  readonly paths: string;
}

export interface LookReply {
  readonly id: number;
  /** {@link joined}, in the same order; empty where there is no such file. */
  readonly identities: string;
}

/** No path holds a NUL. */
export function joined(texts: readonly string[]): string {
  return texts.join('\0');
}
