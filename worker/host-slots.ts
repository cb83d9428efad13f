/**
 * The scoring hosts of a worker node, by slot, as the core orders them. Everything that comes back is a command for the
 * core; what to make of it is decided there.
 */
import { toBatchError, type Failure } from '../common/core/batch-error.ts';
import type { JobSpec } from '../common/core/cluster-messages.ts';
import type { HostFile } from '../common/core/host-protocol.ts';
import type { JobName } from '../common/core/ids.ts';
import { invariant } from '../common/core/invariant.ts';
import { formatToken } from '../common/core/token.ts';
import { deferred, type Deferred } from '../common/io/deferred.ts';
import {
  commandOf,
  rangeText,
  recordOf,
  settleCustom,
  shadowed,
  type AttemptOrder,
  type Keep,
} from './attempt-outcome.ts';
import { spansBetween, type HostLog } from './host-log.ts';
import { HostStarts, type HostAt, type HostStartsOptions, type JobArtifacts, type Started } from './host-starts.ts';
import type { CustomFolder, PutFile } from './pool/custom-folder.ts';
import { HostProcess, type ScoreFailed } from './pool/host-process.ts';
import { maskedOutcome, SecretMask } from './secret-mask.ts';
import { requireSecrets, ShadowHealth, ShadowHost, shadowJob } from './shadow-host.ts';
import type { StoreOutputs } from './staging/store-outputs.ts';

export interface HostSlotsOptions extends HostStartsOptions {
  readonly outputs: Pick<StoreOutputs, 'put' | 'finish'>;
}

interface Host {
  readonly spec: JobSpec;
  readonly job: JobName;
  readonly attemptsLocation: string | null;
  readonly stopping: AbortController;
  /** Rejects when init() fails. */
  readonly process: Promise<HostProcess>;
  /** Null where nothing is collected. */
  readonly custom: Promise<CustomFolder | null>;
  readonly started: Promise<Started>;
  /** Resolves when its process waits for another job. */
  readonly kept: Deferred<void>;
  readonly log: Promise<HostLog>;
  readonly mask: SecretMask | null;
  /** Its folder holds what is not published any more, so that it takes no further mini-batch. */
  isStale: boolean;
  /** What an attempt that failed has left behind in it is nobody's to meet. */
  hasFailed: boolean;
  /** Of its first rows. */
  columns: readonly string[] | null;
  /** The attempts under way have had their outcome told. */
  attempt: Promise<void>;
  /** Scores the same files after it; null: the job has none. */
  readonly shadow: ShadowHost | null;
}

export class HostSlots {
  readonly #options: HostSlotsOptions;
  readonly #hosts = new Map<number, Host>();
  readonly #ends = new Map<number, Promise<void>>();
  readonly #shadows = new Map<JobName, ShadowHealth>();
  readonly #starts: HostStarts;

  constructor(options: HostSlotsOptions) {
    this.#options = options;
    this.#starts = new HostStarts(options);
  }

  /** Processes. */
  get started(): number {
    return this.#starts.started;
  }

  start(slot: number, host: number, spec: JobSpec, artifacts: JobArtifacts): void {
    const stopping = new AbortController();
    const number = this.#starts.nextProcess(spec.name);
    const mask = SecretMask.of(spec.settings.secrets);
    const log = number.then((process) => this.#starts.openLog(spec.name, process, mask));
    const place = { slot, host, number };
    const started = this.#starts.start(place, spec, artifacts, log, stopping.signal);
    const process = started.then((one) => one.process);
    const custom = started.then((one) => one.custom);
    // Its failure is told by `process`.
    custom.catch(() => undefined);
    const attempt = Promise.resolve();
    const { name, attemptsLocation } = spec;
    const told = { spec, job: name, attemptsLocation, mask, isStale: false, hasFailed: false, columns: null };
    const shadow = this.#shadowOf(place, spec, artifacts, stopping.signal);
    const held = { ...told, stopping, process, custom, started, kept: deferred<void>(), log, attempt, shadow };
    this.#hosts.set(host, held);
    this.#ends.set(host, this.#watch(slot, host, held));
  }

  /** `keep` gets the rows; they are its to discard. */
  score(order: AttemptOrder, files: readonly HostFile[], keep: Keep): void {
    const held = this.#hosts.get(order.host);
    invariant(held !== undefined, `host ${order.host} is not on slot ${order.slot}`);
    const before = held.attempt;
    const own = this.#score(held, order, files, keep);
    held.attempt = before.then(() => own);
  }

  /** What the host wrote for a result is not published: it is replaced before its next mini-batch. */
  discredit(host: number): void {
    const held = this.#hosts.get(host);
    if (held) held.isStale = true;
  }

  /** Told as `host-ended`, or as `host-failed` when it was still starting. */
  stop(slot: number, host: number, how: 'stop' | 'kill'): void {
    const held = this.#hosts.get(host);
    // Its end is being told already.
    if (!held) return;
    held.stopping.abort(new Error(`the host on slot ${slot} is not needed any more`));
    void held.process.then(
      async (process) => {
        const shadowEnd = held.shadow?.stop(how);
        if (how === 'stop' && (await this.#keep(held))) {
          await shadowEnd;
          return held.kept.resolve();
        }
        await Promise.all([how === 'stop' ? process.stop() : process.kill(), shadowEnd]);
        // Also of a process that cannot be killed: the slot is not to wait for it.
        this.#options.tell({ kind: 'host-ended', slot, host });
      },
      () => undefined,
    );
  }

  /** The job has ended: resolves when no host of it is left. */
  async endOf(job: JobName): Promise<void> {
    this.#starts.forget(job);
    this.#shadows.delete(job);
    const hosts = [...this.#hosts].filter(([, host]) => host.job === job);
    await Promise.all(hosts.map(([number]) => this.#ends.get(number)));
  }

  /** Ends all that are left. `stop`: those without a mini-batch may call their shutdown() first. */
  async close(how: 'stop' | 'kill'): Promise<void> {
    for (const host of this.#hosts.values()) {
      host.stopping.abort(new Error('the worker node ends'));
      void host.process.then(
        (process) => Promise.all([how === 'stop' ? process.stop() : process.kill(), host.shadow?.stop(how)]),
        () => undefined,
      );
    }
    await Promise.all(this.#ends.values());
    await this.#starts.close();
  }

  /** Whether the process waits for another job from here on, rather than to end with this one. */
  async #keep(held: Host): Promise<boolean> {
    const started = await held.started;
    await held.attempt;
    return !held.isStale && !held.hasFailed && this.#starts.keep(held.spec, started);
  }

  /** Null where the job has none. It takes the slot's device, and the number of the host beside it. */
  #shadowOf(place: HostAt, spec: JobSpec, artifacts: JobArtifacts, signal: AbortSignal): ShadowHost | null {
    const { shadow } = spec;
    if (shadow === undefined) return null;
    const { files, clock } = this.#options;
    const health = this.#shadows.get(spec.name) ?? new ShadowHealth();
    this.#shadows.set(spec.name, health);
    const mask = SecretMask.of(shadow.settings.secrets);
    const log = place.number.then((process) => this.#starts.openLog(spec.name, process, mask, 'shadow'));
    const start = async (): Promise<Started> => {
      requireSecrets(shadow);
      const own = await (artifacts.shadow ?? { model: null, code: null });
      return await this.#starts.start({ ...place, part: 'shadow' }, shadowJob(spec, shadow), own, log, signal);
    };
    return new ShadowHost({ shadow, mask, health, log, start, spoolDir: files.spoolDir, clock, signal });
  }

  /** Tells how a host starts and how it ends; its end comes after the outcome of what it was scoring. */
  async #watch(slot: number, host: number, held: Host): Promise<void> {
    const { tell } = this.#options;
    const { mask } = held;
    const ready = await held.process.then(
      (process) => process,
      (error: unknown) => toBatchError(error),
    );
    const failureOf = (failure: Failure): Failure => mask?.failure(failure) ?? failure;
    let failure: Failure | null = null;
    let peakGpuBytes: number | null = null;
    if (ready instanceof HostProcess) {
      tell({ kind: 'host-ready', slot, host });
      const isKept = await Promise.race([ready.exited.then(() => false), held.kept.promise.then(() => true)]);
      await held.attempt;
      const { deviceHost, afterwards } = await held.started;
      peakGpuBytes = this.#starts.gpuPeakBytes(deviceHost);
      if (!isKept) await this.#starts.removeTraces(deviceHost, afterwards?.home ?? null);
    } else {
      failure = failureOf(await this.#starts.withGpu(ready.toFailure(), host));
      await this.#starts.removeTraces(host, null);
    }
    await held.shadow?.close();
    const log = await held.log;
    if (ready instanceof HostProcess) {
      const init_seconds = (await held.started).isWarm ? 0 : ready.ready.initSeconds;
      const peaks = { peak_memory_bytes: ready.peakBytes, peak_gpu_memory_bytes: peakGpuBytes };
      log.ended({ init_seconds, ...peaks, columns: held.columns });
    }
    // A host that was stopped while it started has not failed.
    if (failure && !held.stopping.signal.aborted) log.error('init()', failure, this.#time());
    await log.close();
    // Whoever has not been told yet may have given it another mini-batch, which says first that it was not begun.
    await held.attempt;
    this.#hosts.delete(host);
    this.#ends.delete(host);
    if (failure) tell({ kind: 'host-failed', slot, host, failure });
    else tell({ kind: 'host-ended', slot, host });
  }

  async #score(held: Host, order: AttemptOrder, files: readonly HostFile[], keep: Keep): Promise<void> {
    const { tell, clock } = this.#options;
    const { slot, host, work, timeoutMs, first, columns } = order;
    const [process, log, custom] = await Promise.all([held.process, held.log, held.custom]);
    // What it is at goes on, and it is replaced after that.
    if (held.isStale && process.isBusy) return tell({ kind: 'handed-back', slot, host, work });
    if (held.isStale) await process.stop();
    if (!process.isAlive) return tell({ kind: 'attempt-unstarted', slot, host, work });
    const began = { place: log.place, start: this.#time(), at: clock.monotonic() };
    const answer = await process.queue(files, { timeoutMs, first, columns });
    const scored = answer.kind === 'failed' ? await this.#withGpu(answer, held) : answer;
    if (scored.kind === 'unbegun') return tell({ kind: 'handed-back', slot, host, work });
    const endedAt = clock.monotonic();
    const cpu_seconds = process.takeCpuSeconds(endedAt, endedAt - began.at);
    const seconds = Math.round(endedAt - began.at) / 1_000;
    if (scored.kind === 'scored') {
      held.columns ??= scored.summary.schema?.columns ?? null;
      if (scored.callSize !== null) void this.#starts.learn(held.spec, await held.started, scored.callSize);
    }
    const isUntouched = !custom || (scored.kind === 'scored' && scored.isFolderEmpty && custom.isEmpty);
    const settled = isUntouched ? scored : await settleCustom(custom, process, scored, this.#storeOf(held, order));
    const outcome = held.mask ? maskedOutcome(settled, held.mask) : settled;
    const printed = spansBetween(began.place, log.place);
    log.record(recordOf(order, outcome, { start: began.start, run_seconds: seconds, cpu_seconds, ...printed }));
    held.hasFailed ||= outcome.kind === 'failed';
    if (outcome.kind === 'failed' && outcome.failure.code === 'SCORER_OUT_OF_MEMORY') this.#starts.dropWaiting();
    if (outcome.kind === 'failed') log.error(rangeText(first, order.count), outcome.failure, this.#time());
    const isSilent = printed.stdout[0] === printed.stdout[1] && printed.stderr[0] === printed.stderr[1];
    const whole = await shadowed(outcome, held.shadow, files, { first, columns });
    // A shadow takes one mini-batch at a time, and its host must not be given more meanwhile.
    const isQuiet = process.ready.queues === true && isUntouched && isSilent && held.shadow === null;
    tell(commandOf(whole, order, { keep, isQuiet }));
  }

  async #withGpu(failed: ScoreFailed, { started }: Host): Promise<ScoreFailed> {
    const { deviceHost } = await started;
    return { ...failed, failure: await this.#starts.withGpu(failed.failure, deviceHost) };
  }

  /** Null where everything goes to the coordinator. */
  #storeOf({ job, attemptsLocation, stopping }: Host, { token }: AttemptOrder): PutFile | null {
    if (attemptsLocation === null) return null;
    const { outputs } = this.#options;
    return (file) => outputs.put(job, `${attemptsLocation}/${formatToken(token)}`, file, stopping.signal);
  }

  #time(): string {
    return new Date(this.#options.clock.wall()).toISOString();
  }
}
