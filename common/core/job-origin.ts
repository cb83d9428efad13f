/** Where a job comes from and what people say about it; nothing here changes which rows come out. */
import type { Digest } from './ids.ts';

export interface JobOrigin {
  /** Endpoint that was invoked, as it is written; null: the job was submitted with a deployment of its own. */
  readonly endpoint: string | null;
  /** Of the deployment under that endpoint, from 1; null without an endpoint. */
  readonly revision: number | null;
  /** Who asked for it. */
  readonly owner: string;
  /** From −100 to 100; a higher one goes first. */
  readonly priority: number;
  /** Named set of worker nodes that may score it; null: all. */
  readonly compute: string | null;
  /** Labels of the worker nodes that may score it, all of them; absent: any will do. */
  readonly require?: Readonly<Record<string, string>>;
  /** What a client's retry is known by: the key, and the digest of what was asked under it; null: nothing is. */
  readonly idempotency: { readonly key: string; readonly digest: Digest } | null;
  /** Shown instead of the name; null: the name. */
  readonly displayName: string | null;
  /** Null: the endpoint's name, or the deployment's. @source Azure ML jobs */
  readonly experimentName: string | null;
  readonly description: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
}

/** What may be said anew of a job at any time. */
export type JobLabels = Pick<JobOrigin, 'displayName' | 'description' | 'tags' | 'properties'>;

/** Of whoever calls without access control, which only this machine can. */
export const localUser = 'local';

/** Of a job that nobody said anything about. */
export const plainOrigin: JobOrigin = {
  endpoint: null,
  revision: null,
  owner: localUser,
  priority: 0,
  compute: null,
  idempotency: null,
  displayName: null,
  experimentName: null,
  description: null,
  tags: {},
  properties: {},
};
