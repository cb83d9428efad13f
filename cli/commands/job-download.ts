/** `job download`: the final files of a job, into a folder. */
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import type { Client } from '../client.ts';
import { exitInterrupted, interruptible, type CommandContext } from '../command-context.ts';
import { fetchFile, type FetchOptions, type FetchPart } from '../fetch-file.ts';
import { createPatience } from '../follow.ts';
import { fileColumns, type OutputFile } from '../job-text.ts';

export interface DownloadFlags {
  /** Results lie in it as they lie in the output folder. */
  readonly output?: string;
  /** Results lie below it as named-outputs/score/…, logs as logs/…. @source Azure ML CLI, `job download` */
  readonly downloadPath?: string;
  readonly outputName?: string;
  readonly overwrite?: boolean;
  readonly logs?: boolean;
  readonly all?: boolean;
}

/** Each file appears under its name only when it is whole. @throws OUTPUT_EXISTS before anything is fetched */
export async function downloadCommand(context: CommandContext, name: string, flags: DownloadFlags): Promise<number> {
  const { signal, dispose } = interruptible(context.host, () => undefined);
  try {
    return await download(context, name, flags, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    context.output.note('interrupted; the files that had come are there, and nothing of the others');
    return exitInterrupted;
  } finally {
    dispose();
  }
}

async function download(
  context: CommandContext,
  name: string,
  flags: DownloadFlags,
  signal: AbortSignal,
): Promise<number> {
  const { host, output } = context;
  const { folder, results: resultsIn, logs: logsIn } = layoutOf(flags, host.cwd);
  const client = await context.client(signal);
  // `last` may mean another job by the time of the second file.
  const job = (await client.show(name)).name;
  const results = (await client.outputFiles(job)).map((file) => ({
    ...below(resultsIn, file),
    fetch: resultFrom(client, job, file),
  }));
  const logs = flags.logs || flags.all ? await client.logFiles(job) : [];
  const files = [...results, ...logs.map((file) => ({ ...below(logsIn, file), fetch: logFrom(client, job, file) }))];
  const targets = files.map((file) => ({ file, target: confined(folder, file.path) }));
  if (!flags.overwrite) for (const { target } of targets) await requireAbsent(target);
  const patience = createPatience({
    ...{ delay: host.delay, signal },
    onBreak: (error) => output.note(`connection lost, trying again: ${error.message}`),
  });
  const done: OutputFile[] = [];
  for (const { file, target } of targets) {
    const { path, size_bytes: sizeBytes, fetch } = file;
    output.progress(`${path}  ${sizeBytes} bytes`);
    patience.renew();
    const bytes = await downloadFile(target, { path, sizeBytes, fetch, patience, signal });
    done.push({ path, size_bytes: bytes });
  }
  output.list(done, fileColumns);
  output.note(`${files.length} files of ${job} are in ${folder}`);
  return 0;
}

function resultFrom(client: Client, job: string, { path }: OutputFile): FetchPart {
  return async (offset, tag) => await client.outputFile(job, path, offset, tag);
}

/** Not more than was listed: a log may grow meanwhile. */
function logFrom(client: Client, job: string, { path, size_bytes: size }: OutputFile): FetchPart {
  return async (offset) =>
    await Promise.resolve({
      ...{ offset, totalBytes: size, tag: null },
      bytes: client.logFile(job, path, offset, size - offset),
    });
}

function below(folder: string, { path, size_bytes }: OutputFile): OutputFile {
  return { path: folder === '' ? path : `${folder}/${path}`, size_bytes };
}

/** Where files go: the folder, and in it those of results and of logs. */
interface Layout {
  readonly folder: string;
  readonly results: string;
  readonly logs: string;
}

/** The one output that a job has. @source Azure ML batch deployments */
const outputName = 'score';

/** @throws USAGE for two folders, or an output that no job has */
function layoutOf(flags: DownloadFlags, cwd: string): Layout {
  const { output, downloadPath, outputName: asked = outputName } = flags;
  if (asked.toLowerCase() !== outputName) {
    throw new BatchError('USAGE', `--output-name: a job has one output, ${outputName}; found ${JSON.stringify(asked)}`);
  }
  if (output === undefined) {
    return { folder: resolve(cwd, downloadPath ?? '.'), results: `named-outputs/${outputName}`, logs: 'logs' };
  }
  if (downloadPath === undefined) return { folder: resolve(cwd, output), results: '', logs: '_logs' };
  throw new BatchError(
    'USAGE',
    'give --output DIR (files as they lie in the output folder) or --download-path DIR (below named-outputs/score), not both',
  );
}

/** The coordinator is not trusted with where files go on this machine. */
function confined(folder: string, path: string): string {
  const target = resolve(folder, path);
  if (target.startsWith(folder.endsWith(sep) ? folder : folder + sep)) return target;
  throw new BatchError('INTERNAL', `the coordinator names ${JSON.stringify(path)}, which lies outside of ${folder}`);
}

async function requireAbsent(target: string): Promise<void> {
  const found = await stat(target).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  });
  if (found) throw new BatchError('OUTPUT_EXISTS', `${target} exists; choose another folder, or say --overwrite`);
}

async function downloadFile(target: string, options: FetchOptions): Promise<number> {
  const partial = join(dirname(target), `.${process.pid}.partial`);
  try {
    await makeFolder(dirname(target));
    const handle = await open(partial, 'w');
    try {
      const bytes = await fetchFile(handle, options);
      await handle.sync();
      await rename(partial, target);
      return bytes;
    } finally {
      await handle.close();
      await rm(partial, { force: true });
    }
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    throw new BatchError('STATE_UNWRITABLE', `${target} cannot be written: ${reasonOf(error)}`, { cause: error });
  }
}
