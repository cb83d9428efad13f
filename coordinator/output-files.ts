/** Files of an output folder that are the job's, for whoever downloads them. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { JobName } from '../common/core/ids.ts';
import { rowsFileName } from '../common/core/parts-form.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { nodeFileSystem } from '../common/io/node-file-system.ts';
import type { Job } from './core/ledger.ts';
import { listCustomFiles } from './output/custom-listing.ts';
import { manifestDirName, partialName } from './output/output-names.ts';
import { sizeOf } from './output/recover-output.ts';

export class OutputFiles {
  #custom: {
    readonly job: JobName;
    readonly reopenings: number;
    readonly paths: ReadonlySet<string>;
  } | null = null;

  /** Of a job that is sealed. @throws INPUT_UNREADABLE; REQUEST_INVALID for an output in a store */
  async list(job: Job): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    refuseStored(job);
    const top = await namesIn(job.outputDir);
    const chunks = (await namesIn(join(job.outputDir, manifestDirName))).map((chunk) => `${manifestDirName}/${chunk}`);
    const sealed: { readonly path: string; readonly sizeBytes: number }[] = [];
    const custom = await this.#customPaths(job);
    const own = [...top, ...chunks].filter((candidate) => isResult(job, candidate));
    for (const path of [...new Set([...own, ...custom])].sort()) {
      const sizeBytes = await sizeOf(nodeFileSystem, join(job.outputDir, path));
      if (sizeBytes !== null) sealed.push({ path, sizeBytes });
    }
    return sealed;
  }

  /** Absolute path of one. @throws INPUT_NOT_FOUND; REQUEST_INVALID for an output in a store */
  async find(job: Job, path: string): Promise<string> {
    refuseStored(job);
    if (!isResult(job, path) && !(job.isSealed && (await this.#customPaths(job)).has(path))) {
      throw new BatchError('INPUT_NOT_FOUND', `job ${job.name} has no output file ${JSON.stringify(path)}`);
    }
    return join(job.outputDir, await nameNow(job, path));
  }

  /** Files of user code that a sealed job has published; kept for one job, since a download asks for one after the other. */
  async #customPaths(job: Job): Promise<ReadonlySet<string>> {
    if (this.#custom?.job !== job.name || this.#custom.reopenings !== job.reopenings) {
      const files = await listCustomFiles(job.outputDir);
      this.#custom = { job: job.name, reopenings: job.reopenings, paths: new Set(files.map(({ path }) => path)) };
    }
    return this.#custom.paths;
  }
}

/** Names in a folder; none when it is gone, as a user may have moved it. @throws INPUT_UNREADABLE */
async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    if (errnoOf(error) === '') throw error;
    throw new BatchError('INPUT_UNREADABLE', `the output folder ${dir} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** @throws REQUEST_INVALID for what this machine does not have */
function refuseStored({ name, isSealed, outputLocation }: Job): void {
  if (!isSealed || outputLocation === null) return;
  throw new BatchError('REQUEST_INVALID', `the output of job ${name} is in ${outputLocation}; read it there`);
}

/** What of an output folder is the job's: everything under our own names, and nothing that was there before. */
function isResult(job: Job, path: string): boolean {
  const rowsName = rowsFileName(job.deployment.settings) ?? '';
  const own = [
    rowsName,
    partialName(rowsName, job.generation),
    '_SUCCESS',
    '_manifest.json',
    '_manifest.jws',
    '_errors.jsonl',
  ];
  return own.includes(path) || /^_manifest\/(files|custom|segments)-\d+\.jsonl$/.test(path);
}

/** One who reads rows while the job runs goes on under the old name when they have got their final one. */
async function nameNow({ outputDir, deployment, generation }: Job, path: string): Promise<string> {
  const rowsName = rowsFileName(deployment.settings) ?? '';
  if (path !== partialName(rowsName, generation)) return path;
  return (await sizeOf(nodeFileSystem, join(outputDir, path))) === null ? rowsName : path;
}
