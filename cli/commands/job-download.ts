/** `job download`: the final files of a job, into a folder. */
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { Client } from '../client.ts';
import type { CommandContext } from '../command-context.ts';
import { fileColumns, type OutputFile } from '../job-text.ts';

export interface DownloadFlags {
  readonly output: string;
  readonly overwrite?: boolean;
}

/** A connection that breaks is taken up again where it broke, so often. */
const triesMax = 5;

/** Each file appears under its name only when it is whole. @throws OUTPUT_EXISTS before anything is fetched */
export async function downloadCommand(context: CommandContext, name: string, flags: DownloadFlags): Promise<number> {
  const { host, output } = context;
  const folder = resolve(host.cwd, flags.output);
  const client = await context.client();
  // `last` may mean another job by the time of the second file.
  const job = (await client.show(name)).name;
  const files = await client.outputFiles(job);
  const targets = files.map((file) => ({ file, target: confined(folder, file.path) }));
  if (!flags.overwrite) for (const { target } of targets) await requireAbsent(target);
  for (const { file, target } of targets) {
    output.progress(`${file.path}  ${file.size_bytes} bytes`);
    await writable(target, async () => await downloadFile(client, job, file, target));
  }
  output.list(files, fileColumns);
  output.note(`${files.length} files of ${job} are in ${folder}`);
  return 0;
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
  if (found) throw new BatchError('OUTPUT_EXISTS', `${target} exists; choose another --output, or say --overwrite`);
}

async function downloadFile(client: Client, job: string, file: OutputFile, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const partial = join(dirname(target), `.${process.pid}.partial`);
  const handle = await open(partial, 'w');
  try {
    await fill(handle, client, job, file);
    await handle.sync();
    await rename(partial, target);
  } finally {
    await handle.close();
    await rm(partial, { force: true });
  }
}

async function fill(handle: FileHandle, client: Client, job: string, file: OutputFile): Promise<void> {
  let offset = 0;
  for (let tries = 1; offset < file.size_bytes || tries === 1; tries += 1) {
    try {
      for await (const chunk of client.outputFile(job, file.path, offset)) {
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
