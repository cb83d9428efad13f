/**
 * What the coordinator itself has to say in a job's log folder: its story, its progress, failed attempts, and at the end
 * result, errors and report. A fold of the events that have become durable; after a restart the files are gone on with.
 */
import type { JobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { JobErrorsView, JobEvent } from '../api/backend.ts';
import type { Event } from '../core/events.ts';
import type { Job, Ledger } from '../core/ledger.ts';
import { isoTime, missingText } from '../views/job-view.ts';
import { recordGroups } from './batch-records.ts';
import { batchLine, batchTitles, csvCell, ReportSums } from './job-report.ts';
import type { LogStore } from './log-store.ts';
import { logsDirName, ownLogs } from './log-tree.ts';

export interface JobStoryOptions {
  readonly ledger: Ledger;
  readonly store: LogStore;
  readonly wall: () => number;
}

interface Chapter {
  /** Lines of failures so far. */
  failures: number;
  progressMs: number;
}

export class JobStory {
  readonly #options: JobStoryOptions;
  readonly #chapters = new Map<JobName, Chapter>();

  constructor(options: JobStoryOptions) {
    this.#options = options;
  }

  /** A line of `job stream`. */
  tell({ kind, message, time, job }: JobEvent): void {
    const { store, wall } = this.#options;
    const name = job.name as JobName;
    const chapter = this.#chapter(name);
    const line = `${time} ${message}\n`;
    if (kind === 'progress') {
      if (wall() - chapter.progressMs < limits.jobLogProgressMs) return;
      chapter.progressMs = wall();
      return void store.append(name, ownLogs.progress, line);
    }
    const isFailure = kind === 'attempt-failed' || kind === 'file-failed';
    if (isFailure && chapter.failures > limits.jobErrorsLogged) return;
    void store.append(name, ownLogs.story, line);
    if (!isFailure) void store.append(name, ownLogs.progress, line);
  }

  /** Failures with all that is known of them. */
  publish(event: Event): void {
    if (event.kind !== 'AttemptFailed' && event.kind !== 'HostFailed') return;
    const job = this.#options.ledger.jobs.get(event.job);
    if (!job) return;
    const name = job.rowsOf ?? job.name;
    const chapter = this.#chapter(name);
    chapter.failures += 1;
    if (chapter.failures > limits.jobErrorsLogged) return;
    const what = event.kind === 'HostFailed' ? 'init()' : rangeText(job, event.batch);
    const { code, message, detail } = event.failure;
    const time = isoTime(this.#options.wall());
    const text = `${time} ${what} on ${event.node} failed: ${code}: ${message}\n${detail === '' ? '' : `${detail.trimEnd()}\n`}\n`;
    void this.#options.store.append(name, ownLogs.userErrors, text);
  }

  /** The job is sealed. Never rejects. */
  async end(job: Job, errors: JobErrorsView): Promise<void> {
    const { store } = this.#options;
    this.#chapters.delete(job.name);
    await store.replace(job.name, ownLogs.result, resultText(job, errors));
    await store.replace(job.name, ownLogs.errors, errorsText(errors));
    await this.report(job);
  }

  /** Tables of all records that have come; written again when more of them have. Never rejects. */
  async report({ name, outputDir }: Job): Promise<void> {
    const { store } = this.#options;
    const [processes, nodes] = [new ReportSums(), new ReportSums()];
    async function* lines(): AsyncGenerator<string> {
      yield batchTitles;
      for await (const { node, process, records } of recordGroups(outputDir)) {
        processes.add([node, process], records);
        nodes.add([node], records);
        const by = csvCell(`${node}/${process}`);
        yield records.map((record) => batchLine(record, by)).join('');
      }
    }
    await store.replace(name, ownLogs.batches, lines());
    await store.replace(name, ownLogs.processes, processes.table(['node', 'process']));
    await store.replace(name, ownLogs.nodes, nodes.table(['node']));
  }

  #chapter(job: JobName): Chapter {
    const chapter = this.#chapters.get(job) ?? { failures: 0, progressMs: -Infinity };
    if (this.#options.ledger.jobs.get(job)?.isSealed !== true) this.#chapters.set(job, chapter);
    return chapter;
  }
}

function rangeText(job: Job, batch: number): string {
  const [first, count] = [job.batches.first(batch), job.batches.files(batch)];
  if (job.rowsOf !== null) return `part ${first}`;
  return count === 1 ? `file ${first}` : `files ${first} to ${first + count - 1}`;
}

function resultText(job: Job, { groups }: JobErrorsView): string {
  const { state, error, scoredFiles, failedFiles, missingFiles, files, rows } = job;
  const lines = [`${job.name} ${state}: ${scoredFiles} of ${files} files scored, ${failedFiles} failed, ${rows} rows`];
  if (error) lines.push(`${error.code}: ${error.message}`);
  if (missingFiles > 0) lines.push(missingText(missingFiles));
  if (groups > 0 || error) lines.push(`errors, the same ones counted together: ${logsDirName}/${ownLogs.errors}`);
  if (failedFiles > 0) lines.push('every failed file with its reason: _errors.jsonl');
  return `${lines.join('\n')}\n`;
}

const errorsNotice = `Errors from loading, init() and run(). An error here need not have changed the result of the job: a mini-batch that
failed is tried again, and what is listed below is what was given up.
`;

function errorsText({ error, value }: JobErrorsView): string {
  const blocks = value.map(
    ({ code, message, files, first_file, last_file, trace, example }) =>
      `${files} files failed so, from ${first_file} to ${last_file}; ${example.file} on ${example.node ?? 'no node'}, ` +
      `tried ${example.tries} times: ${code}: ${message}\n${trace === '' ? '' : `${trace}\n`}`,
  );
  const own = error
    ? [`the job failed: ${error.code}: ${error.message}\n${error.trace === '' ? '' : `${error.trace}\n`}`]
    : [];
  return [errorsNotice, ...own, ...blocks].join('\n');
}
