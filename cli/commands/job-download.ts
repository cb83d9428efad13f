/** `job download`: the final files of a job, into a folder. */
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import type { Client } from '../client.ts';
import type { CommandContext } from '../command-context.ts';
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

/** A connection that breaks is taken up again where it broke, so often. */
const triesMax = 5;

/** Each file appears under its name only when it is whole. @throws OUTPUT_EXISTS before anything is fetched */
export async function downloadCommand(context: CommandContext, name: string, flags: DownloadFlags): Promise<number> {
  const { host, output } = context;
  const { folder, results: resultsIn, logs: logsIn } = layoutOf(flags, host.cwd);
  const client = await context.client();
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
  for (const { file, target } of targets) {
    output.progress(`${file.path}  ${file.size_bytes} bytes`);
    await writable(target, async () => await downloadFile(file, target));
  }
  output.list(
    files.map(({ path, size_bytes }) => ({ path, size_bytes })),
    fileColumns,
  );
  output.note(`${files.length} files of ${job} are in ${folder}`);
  return 0;
}

/** Bytes of a file from an offset on. */
type Fetch = (offset: number) => AsyncIterable<Uint8Array>;

interface Wanted extends OutputFile {
  readonly fetch: Fetch;
}

function resultFrom(client: Client, job: string, { path }: OutputFile): Fetch {
  return (offset) => client.outputFile(job, path, offset);
}

/** Not more than was listed: a log may grow meanwhile. */
function logFrom(client: Client, job: string, { path, size_bytes: size }: OutputFile): Fetch {
  return (offset) => client.logFile(job, path, offset, size - offset);
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

async function downloadFile(file: Wanted, target: string): Promise<void> {
  await makeFolder(dirname(target));
  const partial = join(dirname(target), `.${process.pid}.partial`);
  const handle = await open(partial, 'w');
  try {
    await fill(handle, file);
    await handle.sync();
    await rename(partial, target);
  } finally {
    await handle.close();
    await rm(partial, { force: true });
  }
}

async function fill(handle: FileHandle, file: Wanted): Promise<void> {
  let offset = 0;
  for (let tries = 1; offset < file.size_bytes || tries === 1; tries += 1) {
    try {
      for await (const chunk of file.fetch(offset)) {
        await handle.write(chunk, 0, chunk.length, offset);
        offset += chunk.length;
      }
      if (offset === file.size_bytes) return;
      const message = `${file.path} has ${file.size_bytes} bytes, ${offset} came`;
      throw new BatchError('COORDINATOR_UNREACHABLE', message);
    } catch (error) {
      const isBroken = error instanceof BatchError && error.code === 'COORDINATOR_UNREACHABLE';
      if (!isBroken || tries === triesMax || offset > file.size_bytes) throw error;
    }
  }
}

async function writable(target: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (error instanceof BatchError) throw error;
    throw new BatchError('STATE_UNWRITABLE', `${target} cannot be written: ${reasonOf(error)}`, { cause: error });
  }
}
