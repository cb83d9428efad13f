/** What goes to a thread that looks at files, and what comes back. Texts go as one: a list of them is taken apart and put together again to be copied. */

export interface StatRequest {
  readonly id: number;
  readonly base: string;
  /** Relative to it, {@link joined}; at least one. */
  readonly paths: string;
}

export interface StatReply {
  readonly id: number;
  readonly sizes: Float64Array<ArrayBuffer>;
  /** {@link joined}, in the same order. */
  readonly identities: string;
  /** That it took, not counting the way there and back. */
  readonly ms: number;
}

const separator = '\0';

/** No path holds a NUL. */
export function joined(texts: readonly string[]): string {
  return texts.join(separator);
}

export function taken(text: string): string[] {
  return text.split(separator);
}
