/** Slurm's commands, for the jobs of one allocator: they are known by their comment, and no other job is ever touched. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Environment } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { WorkerJob } from './core/allocate.ts';

export interface SlurmOptions {
  /** Of this process, and what the submitted script goes by. */
  readonly environment: Environment;
  /** Which jobs are its own. */
  readonly mark: string;
  readonly jobName: string;
  /** Of sbatch. */
  readonly options: readonly string[];
  /** Absolute. */
  readonly script: string;
  /** Where jobs begin. */
  readonly cwd: string;
  /** What Slurm itself says of a job before its worker nodes say something; %j is its id. */
  readonly output: string;
}

const run = promisify(execFile);

/** All functions throw SLURM_FAILED with what the command said. */
export class Slurm {
  readonly #options: SlurmOptions;

  constructor(options: SlurmOptions) {
    this.#options = options;
  }

  /** Own jobs, the earliest first; also those that have ended, as long as Slurm remembers them. */
  async jobs(): Promise<readonly WorkerJob[]> {
    const format = '%A|%T|%r|%k';
    const text = await this.#ask('squeue', ['--noheader', '--states=all', '--sort=i', `--format=${format}`]);
    return text.split('\n').flatMap((line) => {
      const [id = '', word = '', reason = '', ...comment] = line.split('|');
      return comment.join('|').trim() === this.#options.mark ? [{ id, word, reason, state: stateOf(word) }] : [];
    });
  }

  /** Whether Slurm would take one; nothing is submitted. */
  async check(): Promise<void> {
    await this.#ask('sbatch', ['--test-only', ...this.#submission()]);
  }

  /** @returns its id */
  async submit(): Promise<string> {
    const said = await this.#ask('sbatch', ['--parsable', ...this.#submission()]);
    return said.trim().split(';')[0] ?? '';
  }

  /** Ids are those of {@link jobs}. One that has ended meanwhile is no error. */
  async cancel(id: string, how: 'drain' | 'drop'): Promise<void> {
    const args = how === 'drain' ? ['--batch', '--signal=TERM', id] : ['--quiet', id];
    await this.#ask('scancel', args).catch((error: unknown) => {
      if (!/invalid job id|already completing|not running/i.test(String((error as Error).message))) throw error;
    });
  }

  #submission(): readonly string[] {
    const { mark, jobName, options, script, output } = this.#options;
    const own = [`--job-name=${jobName}`, `--comment=${mark}`, '--nodes=1', '--export=ALL', '--no-requeue'];
    return [...own, `--output=${output}`, ...options, script];
  }

  async #ask(command: string, args: readonly string[]): Promise<string> {
    const { environment, cwd } = this.#options;
    try {
      const options = { cwd, env: environment as NodeJS.ProcessEnv, timeout: limits.slurmCommandMsMax };
      return (await run(command, [...args], { ...options, maxBuffer: limits.slurmAnswerBytesMax })).stdout;
    } catch (error) {
      const { stderr = '', code, message } = error as Error & { readonly stderr?: string; readonly code?: unknown };
      const said = stderr.trim() || (code === 'ENOENT' ? 'there is no such command on PATH' : message);
      throw new BatchError('SLURM_FAILED', `${command}: ${said.slice(0, limits.nodeReasonCharsMax - 20)}`, {
        cause: error,
      });
    }
  }
}

/** The machine of one that is CONFIGURING starts up, which may take longer than a worker node may take to join. @source squeue: JOB STATE CODES */
function stateOf(word: string): WorkerJob['state'] {
  switch (word) {
    case 'PENDING':
    case 'CONFIGURING':
    case 'REQUEUED':
    case 'REQUEUE_HOLD':
    case 'SPECIAL_EXIT':
      return 'pending';
    case 'RUNNING':
    case 'SUSPENDED':
    case 'RESIZING':
    case 'SIGNALING':
      return 'running';
    case 'COMPLETING':
    case 'STAGE_OUT':
    case 'STOPPED':
      return 'ending';
    default:
      return 'ended';
  }
}
