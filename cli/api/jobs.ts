/** Jobs by what they are of, and what is said of them. */
import type { JobView } from '../../coordinator/api/backend.ts';
import { strangerError } from '../connection.ts';
import { jobReply } from '../replies.ts';
import { listThings } from './registry.ts';
import { segment, type Answered, type Transport } from './transport.ts';

export interface JobFilter {
  readonly endpoint?: string | undefined;
  readonly deployment?: string | undefined;
  readonly status?: string | undefined;
  readonly archived?: 'true' | 'false' | 'all' | undefined;
}

/** Newest first, at most `max`. */
export async function listJobs(api: Transport, filter: JobFilter, max: number = Infinity): Promise<readonly JobView[]> {
  const asked = Object.entries(filter).filter((one): one is [string, string] => one[1] !== undefined);
  const query = new URLSearchParams(asked).toString();
  const found = await listThings(api, `/v1/jobs${query === '' ? '' : `?${query}`}`, max);
  return found.map((value) => jobOf(api, { value, etag: null }));
}

export async function showJob(api: Transport, name: string): Promise<JobView> {
  return jobOf(api, await api.ask('GET', `/v1/jobs/${segment(name)}`));
}

/** @throws COORDINATOR_UNREACHABLE for an answer of another form */
export function jobOf(api: Transport, { value }: Answered): JobView {
  const parsed = jobReply.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw strangerError(api.origin, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

/** Where the job is to be seen. */
export function webPage(origin: string, job: JobView): string {
  return new URL(job.services.Studio.endpoint, origin).href;
}
