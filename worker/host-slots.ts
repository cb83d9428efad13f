/**
 * The scoring hosts of a worker node, by slot, as the core orders them. Everything that comes back is a command for the
 * core; what to make of it is decided there.
 */
import { access, constants, rm } from 'node:fs/promises';
import { BatchError, toBatchError, type Failure } from '../common/core/batch-error.ts';
import { statusOf, type BatchRecord } from '../common/core/batch-record.ts';
import type { JobSpec } from '../common/core/cluster-messages.ts';
import type { HostFile, HostInit } from '../common/core/host-protocol.ts';
import type { JobName } from '../common/core/ids.ts';
import { invariant } from '../common/core/invariant.ts';
import type { ShadowOutcome } from '../common/core/shadow.ts';
import { defaultOutputForm } from '../common/core/output-form.ts';
import { limits } from '../common/core/limits.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import type { Clock } from '../common/io/clock.ts';
import { deferred, type Deferred } from '../common/io/deferred.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { WorkerCommand } from './core/commands.ts';
import { HostLog, spansBetween } from './host-log.ts';
import type { HostSetup } from './host-setup.ts';
import type { HostHome, NodeFiles } from './node-files.ts';
import { CustomFolder, type PutFile } from './pool/custom-folder.ts';
import { HostProcess, type Scored, type ScoreFailed, type ScoreOutcome } from './pool/host-process.ts';
import { maskedOutcome, SecretMask } from './secret-mask.ts';
import { requireSecrets, ShadowHealth, ShadowHost, shadowJob } from './shadow-host.ts';
import type { StoreOutputs } from './staging/store-outputs.ts';
import type { LocalisedArtifact } from './staging/artifact-cache.ts';
import { warmKey, WarmHosts, type Served, type WarmHost } from './warm-hosts.ts';

/** Model and code of a job on this machine. */
export interface JobArtifacts {
  readonly model: LocalisedArtifact | null;
  readonly code: LocalisedArtifact | null;
  /** Of the job's shadow; rejects when they cannot be had. Absent: there is none. */
  readonly shadow?: Promise<JobArtifacts>;
}

/** `hasFiles`: user code has written files of its own for it. `shadow`: what came of the job's shadow; absent: it has none. */
export type Kept = Scored & { readonly hasFiles: boolean; readonly shadow?: ShadowOutcome };

export interface HostSlotsOptions {
  /** Name of the worker node, as scripts are told it. */
  readonly node: string;
  readonly files: NodeFiles;
  /** What hosts are started with. */
  readonly setup: HostSetup;
  readonly outputs: Pick<StoreOutputs, 'put' | 'finish'>;
  /** Of stdout and stderr of each host. */
  readonly hostLogBytesMax: number;
  /** Keeps model and code of a job on this machine until what it returns is called. */
  readonly holdArtifacts: (spec: JobSpec) => () => void;
  /** Hosts that wait for their next job; default: as many as there are slots. */
  readonly warm?: WarmHosts;
  readonly slots: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly tell: (command: WorkerCommand) => void;
}

/** Takes the rows. `isQuiet`: user code has left no trace but them, and the host queues. */
export type Keep = (kept: Kept, isQuiet: boolean) => WorkerCommand;

export interface AttemptOrder {
  readonly slot: number;
  readonly host: number;
  readonly work: number;
  readonly timeoutMs: number;
  /** Ordinal of the first file. */
  readonly first: number;
  /** Files of the mini-batch, with those that could not be staged. */
  readonly count: number;
  readonly token: Token;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Columns that the rows are to be widened to; null: as the scorer gives them. */
  readonly columns: readonly string[] | null;
}

/** Where a host is: its slot, its number on the node, and (later) its number in the job's log tree. */
interface HostAt {
  readonly slot: number;
  readonly host: number;
  readonly number: Promise<number>;
  /** Absent: the job's own scorer. */
  readonly part?: 'shadow';
}

interface Started {
  readonly process: HostProcess;
  readonly custom: CustomFolder | null;
  /** With which it may wait for another job; null: it ends with this one. */
  readonly afterwards: Omit<WarmHost, 'release' | 'onGone'> | null;
  /** Number under which it holds its device. */
  readonly deviceHost: number;
  /** It has served another job before. */
  readonly isWarm: boolean;
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
  /** Number of the next host of each job. */
  readonly #processes = new Map<JobName, Promise<number>>();
  readonly #shadows = new Map<JobName, ShadowHealth>();
  readonly #warm: WarmHosts;
  /** Processes. */
  started = 0;

  constructor(options: HostSlotsOptions) {
    this.#options = options;
    this.#warm = options.warm ?? new WarmHosts({ countMax: options.slots });
  }

  start(slot: number, host: number, spec: JobSpec, artifacts: JobArtifacts): void {
    const stopping = new AbortController();
    const number = this.#nextProcess(spec.name);
    const mask = SecretMask.of(spec.settings.secrets);
    const log = number.then((process) => this.#openLog(spec.name, process, mask));
    const place = { slot, host, number };
    const started = this.#start(place, spec, artifacts, log, stopping.signal);
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
    this.#processes.delete(job);
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
    this.#warm.dropWhere(() => true);
    await this.#warm.settled();
  }

  /** Whether the process waits for another job from here on, rather than to end with this one. */
  async #keep(held: Host): Promise<boolean> {
    const { afterwards, process, deviceHost } = await held.started;
    await held.attempt;
    if (!afterwards || held.isStale || held.hasFailed || !process.isAlive) return false;
    const { setup, holdArtifacts } = this.#options;
    const release = holdArtifacts(held.spec);
    const onGone = (): void => {
      release();
      setup.release(deviceHost);
      void rm(afterwards.home.dir, { recursive: true, force: true }).catch(() => undefined);
    };
    this.#warm.keep({ ...afterwards, release, onGone });
    return true;
  }

  /** Null where the job has none. It takes the slot's device, and the number of the host beside it. */
  #shadowOf(place: HostAt, spec: JobSpec, artifacts: JobArtifacts, signal: AbortSignal): ShadowHost | null {
    const { shadow } = spec;
    if (shadow === undefined) return null;
    const { files, clock } = this.#options;
    const health = this.#shadows.get(spec.name) ?? new ShadowHealth();
    this.#shadows.set(spec.name, health);
    const mask = SecretMask.of(shadow.settings.secrets);
    const log = place.number.then((process) => this.#openLog(spec.name, process, mask, 'shadow'));
    const start = async (): Promise<Started> => {
      requireSecrets(shadow);
      const own = await (artifacts.shadow ?? { model: null, code: null });
      return await this.#start({ ...place, part: 'shadow' }, shadowJob(spec, shadow), own, log, signal);
    };
    return new ShadowHost({ shadow, mask, health, log, start, spoolDir: files.spoolDir, clock, signal });
  }

  async #start(
    at: HostAt,
    spec: JobSpec,
    artifacts: JobArtifacts,
    openLog: Promise<HostLog>,
    signal: AbortSignal,
  ): Promise<Started> {
    const { files, setup, node } = this.#options;
    const { slot, host, part = null } = at;
    const [number, log] = await Promise.all([at.number, openLog]);
    // A shadow is of one job.
    const key = part === null ? warmKey(spec) : null;
    const warm = key === null ? null : this.#warm.take(key);
    if (warm) return await this.#startAgain(warm, spec, log);
    // What waits gives way: to who needs a device, and where memory is short.
    if (setup.usesDevice(spec)) this.#warm.dropWhere(({ deviceHost }) => setup.hasDevice(deviceHost));
    this.#warm.dropIfShort();
    await this.#warm.settled();
    this.started += 1;
    const { outputDir } = spec;
    const isShared = spec.settings.customOutput === 'shared' && outputDir !== null;
    if (isShared) await requireWritable(outputDir, node);
    const home = key === null ? null : await files.makeHostHome(host);
    if (home) await files.prepareHostHome(home, spec.name);
    const ownDir = home?.customDir ?? (isShared ? null : await files.makeCustomDir(spec.name, slot, part));
    const customDir = ownDir ?? outputDir ?? '';
    const isUserCode = spec.scorer.kind !== 'onnx';
    const { warnings, ...command } = await setup.command({
      host,
      spec,
      modelDir: artifacts.model?.dir ?? null,
      outputDir: isUserCode ? customDir : null,
      signal,
      onProgress: this.#prepares(spec, part),
    });
    for (const warning of warnings) log.append('stderr', Buffer.from(`batchmill: ${warning}\n`));
    const cwd = home?.workDir ?? (await files.makeHostDir(spec.name, slot, part));
    const served = this.#servedOf(spec, log, part);
    const process = await HostProcess.start({
      ...command,
      cwd,
      init: initOf(spec, artifacts, {
        customDir,
        logDir: home?.logLink ?? files.userLogsDir(spec.name, part),
        job: spec.name,
        node: this.#options.node,
        process: number,
      }),
      spoolDir: files.spoolDir,
      onWait: (text) => served.wait(text),
      memoryBytesMax: spec.settings.memoryBytesMax,
      logSink: (stream, chunk) => served.print(stream, chunk),
      signal,
    });
    // What init() has used is of no mini-batch.
    process.takeCpuSeconds(this.#options.clock.monotonic());
    const afterwards = key !== null && home ? { key, process, home, served, deviceHost: host } : null;
    const custom = isShared ? null : await this.#customOf(spec, customDir, process);
    return { process, custom, afterwards, deviceHost: host, isWarm: false };
  }

  /** The process has served another job, of which it finds nothing outside of its own memory. */
  async #startAgain(warm: WarmHost, spec: JobSpec, log: HostLog): Promise<Started> {
    const { key, process, home, served, deviceHost, onGone } = warm;
    try {
      await this.#options.files.prepareHostHome(home, spec.name);
      Object.assign(served, this.#servedOf(spec, log, null));
      process.takeCpuSeconds(this.#options.clock.monotonic());
      const custom = await this.#customOf(spec, home.customDir, process);
      // The job that it serves from here on holds them itself.
      warm.release();
      return { process, custom, afterwards: { key, process, home, served, deviceHost }, deviceHost, isWarm: true };
    } catch (error) {
      await process.kill();
      onGone();
      throw error;
    }
  }

  #servedOf(spec: JobSpec, log: HostLog, part: 'shadow' | null): Served {
    return { print: (stream, chunk) => log.append(stream, chunk), wait: this.#prepares(spec, part) };
  }

  #prepares({ name: job }: JobSpec, part: 'shadow' | null): (text: string) => void {
    const prefix = part === null ? '' : `${part}: `;
    return (text) => this.#options.tell({ kind: 'preparing', job, text: text === '' ? '' : prefix + text });
  }

  async #customOf({ scorer, settings }: JobSpec, dir: string, process: HostProcess): Promise<CustomFolder | null> {
    if (scorer.kind === 'onnx') return null;
    // Parts are large, and nobody comes back to them.
    const filesKept = scorer.kind === 'encode' ? 0 : limits.customFilesKept;
    const custom = new CustomFolder(dir, settings.outputFileName, filesKept);
    try {
      await custom.begin();
    } catch (error) {
      await process.kill();
      throw error;
    }
    return custom;
  }

  /** One after the other, so that a replacement is a process of its own in the log tree, as on Azure. */
  #nextProcess(job: JobName): Promise<number> {
    const number = this.#processes.get(job) ?? this.#options.files.firstFreeProcess(job);
    this.#processes.set(
      job,
      number.then((taken) => taken + 1),
    );
    return number;
  }

  #openLog(job: JobName, process: number, mask: SecretMask | null, part: 'shadow' | null = null): HostLog {
    const { files, log, hostLogBytesMax: bytesMax } = this.#options;
    return new HostLog({ dir: files.logsDir(job), part, process, bytesMax, mask, log });
  }

  /** Tells how a host starts and how it ends; its end comes after the outcome of what it was scoring. */
  async #watch(slot: number, host: number, held: Host): Promise<void> {
    const { tell } = this.#options;
    const { mask } = held;
    const ready = await held.process.then(
      (process) => process,
      (error: unknown) => toBatchError(error),
    );
    const failureOf = (error: BatchError): Failure => mask?.failure(error.toFailure()) ?? error.toFailure();
    if (ready instanceof HostProcess) {
      tell({ kind: 'host-ready', slot, host });
      const isKept = await Promise.race([ready.exited.then(() => false), held.kept.promise.then(() => true)]);
      await held.attempt;
      const { deviceHost, afterwards } = await held.started;
      if (!isKept) await this.#removeTraces(deviceHost, afterwards?.home ?? null);
    } else {
      await this.#removeTraces(host, null);
    }
    await held.shadow?.close();
    const log = await held.log;
    if (ready instanceof HostProcess) {
      const init_seconds = (await held.started).isWarm ? 0 : ready.ready.initSeconds;
      log.ended({ init_seconds, peak_memory_bytes: ready.peakBytes, columns: held.columns });
    }
    // A host that was stopped while it started has not failed.
    if (!(ready instanceof HostProcess) && !held.stopping.signal.aborted) {
      log.error('init()', failureOf(ready), this.#time());
    }
    await log.close();
    // Whoever has not been told yet may have given it another mini-batch, which says first that it was not begun.
    await held.attempt;
    this.#hosts.delete(host);
    this.#ends.delete(host);
    if (ready instanceof HostProcess) tell({ kind: 'host-ended', slot, host });
    else tell({ kind: 'host-failed', slot, host, failure: failureOf(ready) });
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
    const scored = await process.queue(files, { timeoutMs, first, columns });
    if (scored.kind === 'unbegun') return tell({ kind: 'handed-back', slot, host, work });
    const endedAt = clock.monotonic();
    const cpu_seconds = process.takeCpuSeconds(endedAt, endedAt - began.at);
    const seconds = Math.round(endedAt - began.at) / 1_000;
    if (scored.kind === 'scored') held.columns ??= scored.summary.schema?.columns ?? null;
    const isUntouched = !custom || (scored.kind === 'scored' && scored.isFolderEmpty && custom.isEmpty);
    const settled = isUntouched ? scored : await settleCustom(custom, process, scored, this.#storeOf(held, order));
    const outcome = held.mask ? maskedOutcome(settled, held.mask) : settled;
    const printed = spansBetween(began.place, log.place);
    log.record({ ...recordOf(order, outcome), start: began.start, run_seconds: seconds, cpu_seconds, ...printed });
    held.hasFailed ||= outcome.kind === 'failed';
    if (outcome.kind === 'failed' && outcome.failure.code === 'SCORER_OUT_OF_MEMORY') this.#warm.dropWhere(() => true);
    if (outcome.kind === 'failed') log.error(rangeText(first, order.count), outcome.failure, this.#time());
    const isSilent = printed.stdout[0] === printed.stdout[1] && printed.stderr[0] === printed.stderr[1];
    const whole = await shadowed(outcome, held.shadow, files, { first, columns });
    // A shadow takes one mini-batch at a time, and its host must not be given more meanwhile.
    const isQuiet = process.ready.queues === true && isUntouched && isSilent && held.shadow === null;
    tell(commandOf(whole, order, { keep, isQuiet }));
  }

  async #removeTraces(deviceHost: number, home: HostHome | null): Promise<void> {
    this.#options.setup.release(deviceHost);
    if (home) await rm(home.dir, { recursive: true, force: true }).catch(() => undefined);
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

/** With what the shadow makes of the same files, while they are there. */
async function shadowed(
  outcome: ScoreOutcome,
  shadow: ShadowHost | null,
  files: readonly HostFile[],
  order: Pick<AttemptOrder, 'first' | 'columns'>,
): Promise<Kept | ScoreFailed> {
  if (outcome.kind === 'failed') return outcome;
  const kept = { ...outcome, hasFiles: outcome.body.custom.bytes > 0 };
  if (shadow === null) return kept;
  try {
    return { ...kept, shadow: await shadow.compare(outcome, files, order) };
  } catch (error) {
    await outcome.body.discard();
    return failedHere(toBatchError(error).toFailure());
  }
}

/** What user code wrote belongs to the attempt: it goes with its result, or it goes. */
async function settleCustom(
  custom: CustomFolder,
  process: HostProcess,
  outcome: ScoreOutcome,
  store: PutFile | null,
): Promise<ScoreOutcome> {
  if (outcome.kind === 'failed') return (await undone(custom, outcome)) ? outcome : await abandoned(process, outcome);
  try {
    outcome.body.beginCustom();
    await custom.collect(new Set(outcome.appended), outcome.body, store);
    return outcome;
  } catch (error) {
    await outcome.body.discard();
    const failed = failedHere(toBatchError(error).toFailure());
    return (await undone(custom, failed)) ? failed : await abandoned(process, failed);
  }
}

/** What came of the rows on this node; the host is as good as before. */
function failedHere(failure: Failure): ScoreFailed {
  const known = { peakMemoryBytes: null, hostExit: null };
  return { kind: 'failed', failure, fileIndex: -1, class: 'error', isHostDead: false, ...known };
}

/** False when host and folder are of no use any more. */
async function undone(custom: CustomFolder, { isHostDead }: ScoreFailed): Promise<boolean> {
  // The next host begins with a new folder.
  return isHostDead || (await custom.undo().catch(() => false));
}

async function abandoned(process: HostProcess, failed: ScoreFailed): Promise<ScoreFailed> {
  await process.kill();
  return { ...failed, isHostDead: true };
}

/** The coordinator has made it: where it is not, the machines do not share it. @throws STATE_UNWRITABLE */
async function requireWritable(outputDir: string, node: string): Promise<void> {
  try {
    await access(outputDir, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new BatchError(
      'STATE_UNWRITABLE',
      `the deployment says settings.output.custom: shared, and worker node ${node} cannot write to the output folder ` +
        `${outputDir}: ${reasonOf(error)}; put it on storage that all nodes share under this path, or leave the setting out`,
      { cause: error },
    );
  }
}

type Told = Omit<BatchRecord, 'start' | 'run_seconds' | 'cpu_seconds' | 'stdout' | 'stderr'>;

function recordOf({ first, count, token, attempt }: AttemptOrder, outcome: ScoreOutcome): Told {
  const what = { first, count, token: formatToken(token), attempt };
  if (outcome.kind === 'scored') {
    const { rows, failed } = outcome.summary;
    return { ...what, status: 'RUN_DONE', rows, failed: failed.length, code: null, message: null };
  }
  const { code, message } = outcome.failure;
  return { ...what, status: statusOf(code, outcome.isHostDead), rows: 0, failed: count, code, message };
}

function rangeText(first: number, count: number): string {
  return count === 1 ? `file ${first}` : `files ${first} to ${first + count - 1}`;
}

function commandOf(
  outcome: Kept | ScoreFailed,
  where: Pick<AttemptOrder, 'slot' | 'host' | 'work'>,
  { keep, isQuiet }: { readonly keep: Keep; readonly isQuiet: boolean },
): WorkerCommand {
  if (outcome.kind === 'scored') return keep(outcome, isQuiet);
  const { failure, fileIndex, isHostDead, peakMemoryBytes, hostExit } = outcome;
  const { slot, host, work } = where;
  const circumstances = { peakMemoryBytes, hostExit };
  return { kind: 'attempt-failed', slot, host, work, failure, fileIndex, circumstances, isHostDead };
}

type HostPlace = Pick<HostInit, 'customDir' | 'logDir' | 'job' | 'node' | 'process'>;

function initOf({ scorer, settings }: JobSpec, { model, code }: JobArtifacts, place: HostPlace): HostInit {
  const { outputFormat, outputForm = defaultOutputForm, outputAction, loggingLevel } = settings;
  return {
    scorer,
    settings: { outputFormat, outputForm, outputAction, loggingLevel },
    modelDir: model?.dir ?? null,
    modelPath: model?.path ?? null,
    codeDir: code?.path ?? null,
    ...place,
  };
}
