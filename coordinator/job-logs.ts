/** What callers ask of a job's logs and errors. Reads the ledger and the log folder; decides nothing. */
import { join } from 'node:path';
import { BatchError, type Failure } from '../common/core/batch-error.ts';
import { inputName } from '../common/core/input.ts';
import { confine, isConfined } from '../common/storage/confine.ts';
import type { ErrorGroupView, FileQuery, JobErrorsView, Page, PrintedView } from './api/backend.ts';
import type { Job } from './core/ledger.ts';
import { InputCatalog } from './input/input-catalog.ts';
import { jobDirOf } from './job-files.ts';
import { batchRecords } from './logs/batch-records.ts';
import { logsDirName } from './logs/log-tree.ts';
import { circumstancesView } from './views/circumstances.ts';
import { groupFailures, userTraceback, type FailureGroup } from './views/error-groups.ts';

/** The catalog of a job that may have been sealed long ago. */
export async function catalogOf(stateDir: string, job: Job): Promise<InputCatalog> {
  return await InputCatalog.open({ jobDir: jobDirOf(stateDir, job.name) });
}

/** A page of the job's errors, most files first. */
export async function jobErrors(job: Job, catalog: InputCatalog, { offset, limit }: Page): Promise<JobErrorsView> {
  const groups = groupFailures(job.failures);
  const value: ErrorGroupView[] = [];
  for (const group of groups.slice(offset, offset + limit)) value.push(await groupView(group, catalog));
  return {
    name: job.name,
    status: job.state,
    error: job.error && { code: job.error.code, message: job.error.message, trace: traceOf(job.error) },
    failed_files: job.failedFiles,
    groups: groups.length,
    value,
    logs_path: join(job.outputDir, logsDirName),
  };
}

async function groupView(
  { example, files, first, last }: FailureGroup,
  catalog: InputCatalog,
): Promise<ErrorGroupView> {
  const nameOf = async (ordinal: number): Promise<string> => {
    const found = ordinal < catalog.count ? await catalog.files(ordinal, 1) : [];
    return found[0] ? inputName(found[0]) : `file ${ordinal}`;
  };
  const { failure, node, tries, circumstances } = example;
  return {
    code: failure.code,
    message: failure.message,
    trace: traceOf(failure),
    files,
    first_file: await nameOf(first),
    last_file: await nameOf(last),
    example: {
      file: await nameOf(example.first),
      node,
      tries,
      ...circumstancesView(circumstances),
    },
  };
}

function traceOf(failure: Failure): string {
  return failure.detail === '' ? '' : userTraceback(failure.detail);
}

/** @throws INPUT_NOT_FOUND */
export async function printedOf(job: Job, catalog: InputCatalog, query: FileQuery): Promise<readonly PrintedView[]> {
  const { first, last } =
    'first' in query ? { first: query.first, last: query.first } : await ordinalsOf(job, catalog, query.file);
  const found: PrintedView[] = [];
  for await (const record of batchRecords(job.outputDir)) {
    if (record.first <= last && first < record.first + record.count) found.push(record);
  }
  return found.sort((a, b) => (a.start < b.start ? -1 : 1));
}

/** Of a file, all its parts; of one part, as errors name it, that one. */
async function ordinalsOf(
  job: Job,
  catalog: InputCatalog,
  name: string,
): Promise<{ readonly first: number; readonly last: number }> {
  let ordinal = 0;
  let first = -1;
  for await (const file of catalog.all()) {
    const isMeant = file.path === name || inputName(file) === name;
    if (isMeant && first < 0) first = ordinal;
    if (!isMeant && first >= 0) break;
    ordinal += 1;
  }
  if (first >= 0) return { first, last: ordinal - 1 };
  throw new BatchError('INPUT_NOT_FOUND', `job ${job.name} has no input file ${JSON.stringify(name)}`);
}

/** Absolute path of a log. @throws LOG_NOT_FOUND */
export function logPathOf(job: Job, path: string): string {
  if (isConfined(path)) return confine(join(job.outputDir, logsDirName), path);
  throw new BatchError('LOG_NOT_FOUND', `job ${job.name} has no log ${JSON.stringify(path)}`);
}
