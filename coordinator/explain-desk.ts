/** Answers why a job, or a file of its input, is where it is. */
import { BatchError } from '../common/core/batch-error.ts';
import { inputName } from '../common/core/input.ts';
import type { JobName } from '../common/core/ids.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Backend } from './api/backend.ts';
import { attended, type Job, type Ledger } from './core/ledger.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import { explainView, fileView, type ExplainView, type FileView } from './views/explain-view.ts';

export interface ExplainOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly jobs: Pick<Backend, 'show' | 'printed'>;
  readonly catalogOf: (job: Job) => Promise<InputCatalog>;
}

export class ExplainDesk {
  readonly #options: ExplainOptions;

  constructor(options: ExplainOptions) {
    this.#options = options;
  }

  /** `file`: path of an input file; null: the job alone. @throws JOB_NOT_FOUND, INPUT_NOT_FOUND */
  async explain(name: string, file: string | null): Promise<ExplainView> {
    const { ledger, jobs, clock } = this.#options;
    const job = ledger.jobs.get(jobs.show(name).name as JobName);
    if (!job) throw new BatchError('JOB_NOT_FOUND', `there is no job ${name}`);
    const found = file === null ? null : await this.#file(job, file);
    return explainView(ledger, job, attended(ledger, clock.monotonic()), found);
  }

  async #file(job: Job, path: string): Promise<FileView> {
    const { ledger, jobs, clock, catalogOf } = this.#options;
    const ordinal = await ordinalOf(job, await catalogOf(job), path);
    const attempts = await jobs.printed(job.name, { first: ordinal });
    return fileView(job, path, ordinal, attended(ledger, clock.monotonic()), attempts);
  }
}

/** Of a file that is shared out, its first part. */
async function ordinalOf({ name }: Job, catalog: InputCatalog, path: string): Promise<number> {
  let ordinal = 0;
  for await (const file of catalog.all()) {
    if (file.path === path || inputName(file) === path) return ordinal;
    ordinal += 1;
  }
  throw new BatchError('INPUT_NOT_FOUND', `job ${name} has no input file ${JSON.stringify(path)}`);
}
