declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** Unique, readable name of a job: `digits-20261121-093012-k3f9`. */
export type JobName = Branded<string, 'JobName'>;
/** Name of a worker node, unique among live ones. */
export type NodeName = Branded<string, 'NodeName'>;
/** Drawn anew by every worker node process: tells a reconnect from a restart under the same name. */
export type Incarnation = Branded<string, 'Incarnation'>;
/** `sha256:` and 64 hex digits. */
export type Digest = Branded<string, 'Digest'>;
/** Milliseconds of a monotonic clock; only differences mean anything, and only within one process. */
export type MonotonicMs = Branded<number, 'MonotonicMs'>;

export const jobName = (text: string): JobName => text as JobName;
export const nodeName = (text: string): NodeName => text as NodeName;
/** Names of worker nodes are host names, more or less; they appear in paths and messages. */
export function isNodeName(text: string): boolean {
  return /^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$/i.test(text);
}

export const incarnation = (text: string): Incarnation => text as Incarnation;
export const digest = (text: string): Digest => text as Digest;
export const monotonicMs = (ms: number): MonotonicMs => ms as MonotonicMs;
