/** One page of the jobs, newest first. Pure: which jobs, not what they look like. */
import type { JobQuery } from '../api/backend.ts';
import type { Job } from '../core/ledger.ts';

export interface JobPage {
  readonly jobs: readonly Job[];
  /** The number below which the next page begins; null after the last one. */
  readonly next: number | null;
}

/**
 * `jobs`: in order of submission. A page begins below a job's number, which no other job ever gets: jobs that come are
 * above all pages that are still to be asked for, and jobs that go leave the others where they are.
 */
export function jobPage(jobs: readonly Job[], query: JobQuery): JobPage {
  const found: Job[] = [];
  for (let index = endBelow(jobs, query.before); index > 0; index -= 1) {
    const job = jobs[index - 1] as Job;
    if (!isWanted(job, query)) continue;
    if (found.length === query.limit) return { jobs: found, next: found.at(-1)?.number ?? null };
    found.push(job);
  }
  return { jobs: found, next: null };
}

/** How many of them, which are in order of their numbers, are below one. */
function endBelow(jobs: readonly Job[], number: number | null): number {
  if (number === null) return jobs.length;
  let from = 0;
  let to = jobs.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((jobs[middle] as Job).number < number) from = middle + 1;
    else to = middle;
  }
  return from;
}

function isWanted(job: Job, { endpoint, deployment, states, archived }: JobQuery): boolean {
  if (job.rowsOf !== null) return false;
  if (archived !== null && job.isArchived !== archived) return false;
  if (states !== null && !states.includes(job.state)) return false;
  if (deployment !== null && job.deployment.name.toLowerCase() !== deployment.toLowerCase()) return false;
  return endpoint === null || job.origin.endpoint?.toLowerCase() === endpoint.toLowerCase();
}
