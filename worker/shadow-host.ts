/**
 * The scoring host of a job's shadow, beside the host of one slot: started when that has scored its first mini-batch, given the
 * same staged files behind it, and compared with it. Whatever becomes of the shadow is an outcome that is counted; nothing of it
 * reaches the job's own rows.
 */
import { crc32 } from 'node:zlib';
import { BatchError, toBatchError, type Failure } from '../common/core/batch-error.ts';
import type { JobSpec, ShadowSpec } from '../common/core/cluster-messages.ts';
import type { HostFile } from '../common/core/host-protocol.ts';
import { limits } from '../common/core/limits.ts';
import { secretNames } from '../common/core/secret-reference.ts';
import { differencesName, noShadowCounts, type ShadowOutcome } from '../common/core/shadow.ts';
import type { Clock } from '../common/io/clock.ts';
import { entryHead, entryTrailer } from '../common/storage/custom-archive.ts';
import type { HostLog } from './host-log.ts';
import type { CustomFolder } from './pool/custom-folder.ts';
import type { HostProcess, Scored, ScoreOptions, ScoreOutcome } from './pool/host-process.ts';
import { ResultBody } from './pool/result-body.ts';
import { maskedOutcome, type SecretMask } from './secret-mask.ts';

/** What the slots of a node know together of a job's shadow. */
export class ShadowHealth {
  #failedStarts = 0;
  #deaths = 0;
  #givenUp: Failure | null = null;

  /** Why it is not tried any more on this node; null: it is. */
  get givenUp(): Failure | null {
    return this.#givenUp;
  }

  worked(): void {
    this.#failedStarts = 0;
    this.#deaths = 0;
  }

  notStarted(failure: Failure): void {
    this.#failedStarts += 1;
    if (this.#failedStarts >= limits.shadowStartsMax)
      this.#giveUp(failure, `it could not be started ${limits.shadowStartsMax} times in a row`);
  }

  died(failure: Failure): void {
    this.#deaths += 1;
    if (this.#deaths >= limits.shadowDeathsMax)
      this.#giveUp(failure, `its host was lost ${limits.shadowDeathsMax} times in a row`);
  }

  #giveUp(failure: Failure, why: string): void {
    const message = `the shadow is given up for this job on this node, ${why}; the last time: ${failure.message}`;
    this.#givenUp = { ...failure, message };
  }
}

export interface StartedShadow {
  readonly process: HostProcess;
  /** Takes back what the script has written: nobody publishes it. */
  readonly custom: CustomFolder | null;
}

export interface ShadowHostOptions {
  readonly shadow: ShadowSpec;
  readonly health: ShadowHealth;
  /** Secrets that may not leave the node; null: none. */
  readonly mask: SecretMask | null;
  readonly log: Promise<HostLog>;
  /** Starts a host. @throws BatchError, and the signal's reason */
  readonly start: () => Promise<StartedShadow>;
  readonly spoolDir: string;
  readonly clock: Pick<Clock, 'monotonic' | 'wall'>;
  /** The slot's own host is not needed any more, and neither is this one. */
  readonly signal: AbortSignal;
}

/** Which files they are, and which columns the rows are widened to. */
type ShadowOrder = Omit<ScoreOptions, 'timeoutMs' | 'signal'>;

export class ShadowHost {
  readonly #options: ShadowHostOptions;
  #started: StartedShadow | null = null;

  constructor(options: ShadowHostOptions) {
    this.#options = options;
  }

  /**
   * Scores the files that `own` is the result of, and puts what differs behind its rows, as a file that was appended to. Rejects
   * only when the disk under `own` itself fails.
   */
  async compare(own: Scored, files: readonly HostFile[], order: ShadowOrder): Promise<ShadowOutcome> {
    const differences = new Differences(this.#options.spoolDir);
    const giveUp = (): void => own.body.giveUp();
    this.#options.signal.addEventListener('abort', giveUp);
    try {
      const outcome = await this.#compared(own, files, order, differences);
      if (outcome.failure === null) await differences.appendTo(own.body);
      return outcome;
    } finally {
      this.#options.signal.removeEventListener('abort', giveUp);
      await differences.discard();
    }
  }

  async #compared(
    own: Scored,
    files: readonly HostFile[],
    order: ShadowOrder,
    differences: Differences,
  ): Promise<ShadowOutcome> {
    const { clock, shadow } = this.#options;
    const { outputFormat: format, outputForm } = shadow.settings;
    let runSeconds = 0;
    let body: ResultBody | null = null;
    try {
      const { process } = await this.#host();
      const began = clock.monotonic();
      const outcome = await this.#score(process, files, order);
      runSeconds = (clock.monotonic() - began) / 1_000;
      if (outcome.kind === 'failed') return failedOutcome(outcome.failure, runSeconds);
      ({ body } = outcome);
      ({ runSeconds } = outcome.summary);
      // Few jobs have a shadow, and all nodes begin.
      const { compareResults } = await import('./pool/compare-results.ts');
      const compared = await compareResults(own, outcome, {
        ...{ files, format, delimiter: outputForm?.delimiter, tolerance: shadow.tolerance },
        write: (line) => differences.add(line),
      });
      return { ...compared, failure: null, runSeconds };
    } catch (error) {
      const failure = toBatchError(error).toFailure();
      return failedOutcome(this.#masked(failure), runSeconds);
    } finally {
      await body?.discard();
    }
  }

  /** `stop`: shutdown() of the script may run. Resolves when nothing of it is left. */
  async stop(how: 'stop' | 'kill'): Promise<void> {
    await this.#started?.process[how]();
  }

  /** Its log is complete. */
  async close(): Promise<void> {
    await this.stop('stop');
    await (await this.#options.log).close();
  }

  async #host(): Promise<StartedShadow> {
    const { health, start, signal, log } = this.#options;
    if (this.#started?.process.isAlive === true) return this.#started;
    if (health.givenUp) throw BatchError.fromFailure(health.givenUp);
    try {
      this.#started = await start();
      return this.#started;
    } catch (error) {
      const failure = toBatchError(error).toFailure();
      if (!signal.aborted) {
        (await log).error('init()', this.#masked(failure), this.#time());
        health.notStarted(failure);
      }
      throw error;
    }
  }

  async #score(process: HostProcess, files: readonly HostFile[], order: ShadowOrder): Promise<ScoreOutcome> {
    const { health, log, mask, shadow, signal } = this.#options;
    const scored = await process.score(files, { ...order, timeoutMs: shadow.settings.timeoutMs, signal });
    const outcome = mask ? maskedOutcome(scored, mask) : scored;
    // What it has written goes, so that its folder does not grow with the job.
    if (process.isAlive) await this.#started?.custom?.undo().catch(() => false);
    if (outcome.kind === 'scored') health.worked();
    else {
      (await log).error(`files ${order.first} to ${order.first + files.length - 1}`, outcome.failure, this.#time());
      if (outcome.isHostDead) health.died(outcome.failure);
      else health.worked();
    }
    return outcome;
  }

  #masked(failure: Failure): Failure {
    return this.#options.mask?.failure(failure) ?? failure;
  }

  #time(): string {
    return new Date(this.#options.clock.wall()).toISOString();
  }
}

/** The shadow as if it were the job: rows in the job's own form, files of its own nowhere. */
export function shadowJob(spec: JobSpec, shadow: ShadowSpec): JobSpec {
  const { deployment, scorer, model, code, environment, settings } = shadow;
  const { name, inputRoot, owner } = spec;
  const places = { name, inputRoot, owner, outputDir: null, attemptsLocation: null };
  return { ...places, deployment, scorer, model, code, environment, settings };
}

/** The coordinator leaves out those that are not there any more. @throws SECRET_NOT_FOUND */
export function requireSecrets({ settings: { environmentVariables, secrets = {} } }: ShadowSpec): void {
  const missing = secretNames(environmentVariables).filter((name) => !Object.hasOwn(secrets, name));
  if (missing.length === 0) return;
  const message = `the shadow refers to ${missing.map((name) => `\${secret:${name}}`).join(', ')}, which is not there any more`;
  throw new BatchError('SECRET_NOT_FOUND', message);
}

function failedOutcome({ code, message }: Failure, runSeconds: number): ShadowOutcome {
  // It is journaled with every mini-batch that it costs.
  const failure = { code, message: message.slice(0, limits.shownRowChars) };
  return { counts: noShadowCounts, failure, runSeconds, columns: null };
}

/** Lines that wait until it is known how many bytes they are. */
class Differences {
  readonly #body: ResultBody;
  #lines: string[] = [];
  #chars = 0;

  constructor(spoolDir: string) {
    this.#body = new ResultBody(spoolDir);
  }

  async add(line: string): Promise<void> {
    this.#lines.push(`${line}\n`);
    this.#chars += line.length;
    if (this.#chars < limits.uploadChunkBytes) return;
    this.#flush();
    if (this.#body.isBehind) await this.#body.settled();
  }

  /** As one more file of the attempt. */
  async appendTo(body: ResultBody): Promise<void> {
    this.#flush();
    if (this.#body.bytes === 0) return;
    await this.#body.settled();
    body.beginCustom();
    const entry = entryHead({ path: differencesName, how: 'append', bytes: this.#body.bytes });
    body.append(entry.head);
    let sum = entry.crc32;
    for await (const piece of this.#body.pieces()) {
      sum = crc32(piece, sum);
      body.append(piece);
      if (body.isBehind) await body.settled();
    }
    body.append(entryTrailer(sum));
    await body.settled();
  }

  async discard(): Promise<void> {
    await this.#body.discard();
  }

  #flush(): void {
    if (this.#lines.length > 0) this.#body.append(Buffer.from(this.#lines.join('')));
    this.#lines = [];
    this.#chars = 0;
  }
}
