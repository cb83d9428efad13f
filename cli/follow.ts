/** Follows a job to its end, across restarts of the coordinator. */
import { BatchError } from '../common/core/batch-error.ts';
import { limits } from '../common/core/limits.ts';
import { isFinal } from '../common/core/states.ts';
import type { Delay } from '../common/io/delay.ts';
import type { JobEvent, JobView } from '../coordinator/api/backend.ts';
import type { Client } from './client.ts';

export interface FollowOptions {
  readonly client: Client;
  /** As it was when following began. */
  readonly job: JobView;
  /** Aborting detaches: the job goes on. */
  readonly signal: AbortSignal;
  readonly delay: Delay;
  readonly onEvent: (event: JobEvent) => void;
  /** The connection broke; told once for each break. */
  readonly onBreak: (error: BatchError) => void;
}

/**
 * The job in its final state, or null when `signal` was aborted before. A coordinator that goes away is waited for.
 * @throws COORDINATOR_UNREACHABLE when it stays away, JOB_NOT_FOUND
 */
export async function followJob(options: FollowOptions): Promise<JobView | null> {
  let after = 0;
  let { job } = options;
  const { name } = job;
  const hadEnded = isFinal(job.status);
  const patience = createPatience(options);
  while (!options.signal.aborted) {
    try {
      for await (const event of options.client.events(name, after, options.signal)) {
        ({ sequence: after, job } = event);
        patience.renew();
        options.onEvent(event);
      }
      if (options.signal.aborted) break;
      // Of a job that had ended before, events tell what it was then, or are not kept any more.
      if (hadEnded || !isFinal(job.status)) job = await options.client.show(name);
      if (isFinal(job.status)) return job;
      throw new BatchError('COORDINATOR_UNREACHABLE', `the events of ${name} ended while it is ${job.status}`);
    } catch (error) {
      if (options.signal.aborted) break;
      if (!(error instanceof BatchError) || error.code !== 'COORDINATOR_UNREACHABLE') throw error;
      await patience.wait(error);
    }
  }
  return null;
}

export interface Patience {
  /** Something was heard: all is well again. */
  renew(): void;
  /** Waits a little longer each time. @throws the error when it has waited long enough */
  wait(error: BatchError): Promise<void>;
}

/** For as long as a coordinator that goes away is waited for. */
export function createPatience({
  delay,
  signal,
  onBreak,
}: Pick<FollowOptions, 'delay' | 'signal' | 'onBreak'>): Patience {
  let waitedMs = 0;
  let nextMs: number = limits.reconnectMsMin;
  return {
    renew: () => {
      [waitedMs, nextMs] = [0, limits.reconnectMsMin];
    },
    wait: async (error) => {
      if (waitedMs >= limits.clientReconnectMsTotal) throw error;
      if (waitedMs === 0) onBreak(error);
      await delay(nextMs, signal);
      waitedMs += nextMs;
      nextMs = Math.min(nextMs * 2, limits.reconnectMsMax);
    },
  };
}
