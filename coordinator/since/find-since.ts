/** Which earlier output a job is to take rows from: the one that was named, or the last of the same work. */
import { isAbsolute } from 'node:path';
import { BatchError, isBatchError } from '../../common/core/batch-error.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { Job } from '../core/ledger.ts';
import type { Since } from '../core/since.ts';
import { earlierOutput } from './earlier-output.ts';

export interface FindSince {
  /** Name of a job, or absolute path of an output folder; null: none was named. */
  readonly named: string | null;
  readonly find: (name: string) => Promise<Job>;
  /** In order of submission. */
  readonly jobs: readonly Job[];
  readonly deployment: Deployment;
  readonly inputPath: string;
  readonly takenPath: string;
  readonly fileSystem: FileSystem;
}

/** Null when nothing is to be taken. @throws SINCE_UNUSABLE for one that was named, JOB_NOT_FOUND */
export async function findSince(options: FindSince): Promise<Since | null> {
  const { named, find, deployment } = options;
  if (named !== null) return await earlierOf(options, isAbsolute(named) ? named : folderOf(await find(named)));
  if (deployment.settings.incremental !== true) return null;
  const last = lastOf(options);
  if (last === undefined) return null;
  try {
    return await earlierOf(options, last.outputDir);
  } catch (error) {
    if (!isBatchError(error, 'SINCE_UNUSABLE')) throw error;
    const none = { rowsPath: '', takenPath: '', schema: null };
    return { job: last.name, dir: last.outputDir, reason: error.message, ...none };
  }
}

async function earlierOf({ deployment, inputPath, takenPath, fileSystem }: FindSince, dir: string): Promise<Since> {
  return await earlierOutput({ dir, deployment, inputPath, takenPath, fileSystem });
}

/** The last one that is complete, of a deployment of this name and the same input. */
function lastOf({ jobs, deployment, inputPath }: FindSince): Job | undefined {
  return jobs.findLast(
    (job) =>
      job.state === 'Completed' &&
      job.isSealed &&
      job.outputLocation === null &&
      job.inputPath === inputPath &&
      job.deployment.name === deployment.name,
  );
}

function folderOf({ name, state, isSealed, outputDir, outputLocation }: Job): string {
  if (!isSealed) throw new BatchError('SINCE_UNUSABLE', `job ${name} is ${state} and has no sealed output yet`);
  if (outputLocation === null) return outputDir;
  const text = `the output of job ${name} is in ${outputLocation}; rows are taken from folders of this machine only`;
  throw new BatchError('SINCE_UNUSABLE', text);
}
