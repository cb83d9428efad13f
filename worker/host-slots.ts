/**
 * The scoring hosts of a worker node, by slot, as the core orders them. Everything that comes back is a command for the
 * core; what to make of it is decided there.
 */
import { access, constants } from 'node:fs/promises';
import { BatchError, toBatchError } from '../common/core/batch-error.ts';
import type { JobSpec } from '../common/core/cluster-messages.ts';
import type { HostFile, HostInit } from '../common/core/host-protocol.ts';
import type { JobName } from '../common/core/ids.ts';
import { invariant } from '../common/core/invariant.ts';
import type { Environment } from '../common/config/process-settings.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { WorkerCommand } from './core/commands.ts';
import { HostLog } from './host-log.ts';
import type { NodeFiles } from './node-files.ts';
import { hostCommand, isPythonScorer, resolvePython, type HostCommand } from './pool/host-command.ts';
import { CustomFolder } from './pool/custom-folder.ts';
import { HostProcess, type Scored, type ScoreFailed, type ScoreOutcome } from './pool/host-process.ts';
import type { LocalisedArtifact } from './staging/artifact-cache.ts';

/** Model and code of a job on this machine. */
export interface JobArtifacts {
  readonly model: LocalisedArtifact | null;
  readonly code: LocalisedArtifact | null;
}

export interface HostSlotsOptions {
  /** Name of the worker node, as scripts are told it. */
  readonly node: string;
  readonly files: NodeFiles;
  /** A path or a name; null: whichever is on PATH. */
  readonly python: string | null;
  /** Of the worker node; scoring hosts get what `hostEnvironment` lets pass. */
  readonly environment: Environment;
  readonly log: Log;
  readonly tell: (command: WorkerCommand) => void;
}

export interface AttemptOrder {
  readonly slot: number;
  readonly host: number;
  readonly work: number;
  readonly timeoutMs: number;
  /** Ordinal of the first file. */
  readonly first: number;
}

interface Started {
  readonly process: HostProcess;
  readonly custom: CustomFolder | null;
}

interface Host {
  readonly job: JobName;
  readonly stopping: AbortController;
  /** Rejects when init() fails. */
  readonly process: Promise<HostProcess>;
  /** Null where nothing is collected. */
  readonly custom: Promise<CustomFolder | null>;
  readonly log: HostLog;
  /** Its folder holds what is not published any more, so that it takes no further mini-batch. */
  isStale: boolean;
  /** The attempt under way has had its outcome told. */
  attempt: Promise<void>;
}

export class HostSlots {
  readonly #options: HostSlotsOptions;
  readonly #hosts = new Map<number, Host>();
  readonly #ends = new Map<number, Promise<void>>();
  #python: Promise<string> | null = null;
  started = 0;

  constructor(options: HostSlotsOptions) {
    this.#options = options;
  }

  start(slot: number, host: number, spec: JobSpec, artifacts: JobArtifacts): void {
    const { files, log } = this.#options;
    const stopping = new AbortController();
    const hostLog = new HostLog({
      stdoutPath: files.logPath(spec.name, slot, 'stdout'),
      stderrPath: files.logPath(spec.name, slot, 'stderr'),
      log,
    });
    const started = this.#start(slot, spec, artifacts, hostLog, stopping.signal);
    const process = started.then((host) => host.process);
    const custom = started.then((host) => host.custom);
    // Its failure is told by `process`.
    custom.catch(() => undefined);
    const held = {
      job: spec.name,
      stopping,
      process,
      custom,
      log: hostLog,
      attempt: Promise.resolve(),
      isStale: false,
    };
    this.#hosts.set(host, held);
    this.started += 1;
    this.#ends.set(host, this.#watch(slot, host, held));
  }

  /** `keep` gets the rows; they are its to discard. */
  score(order: AttemptOrder, files: readonly HostFile[], keep: (scored: Scored) => WorkerCommand): void {
    const held = this.#hosts.get(order.host);
    invariant(held !== undefined, `host ${order.host} is not on slot ${order.slot}`);
    held.attempt = this.#score(held, order, files, keep);
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
        await (how === 'stop' ? process.stop() : process.kill());
        // Also of a process that cannot be killed: the slot is not to wait for it.
        this.#options.tell({ kind: 'host-ended', slot, host });
      },
      () => undefined,
    );
  }

  /** Resolves when no host of the job is left. */
  async endOf(job: JobName): Promise<void> {
    const hosts = [...this.#hosts].filter(([, host]) => host.job === job);
    await Promise.all(hosts.map(([number]) => this.#ends.get(number)));
  }

  /** Kills all that are left. */
  async close(): Promise<void> {
    for (const host of this.#hosts.values()) {
      host.stopping.abort(new Error('the worker node ends'));
      void host.process.then(
        (process) => process.kill(),
        () => undefined,
      );
    }
    await Promise.all(this.#ends.values());
  }

  async #start(
    slot: number,
    spec: JobSpec,
    artifacts: JobArtifacts,
    log: HostLog,
    signal: AbortSignal,
  ): Promise<Started> {
    const { files } = this.#options;
    const { outputDir } = spec;
    const isShared = spec.settings.customOutput === 'shared' && outputDir !== null;
    if (isShared) await requireWritable(outputDir, this.#options.node);
    const customDir = isShared ? outputDir : await files.makeCustomDir(spec.name, slot);
    const isUserCode = spec.scorer.kind !== 'onnx';
    const command = await this.#command(spec, artifacts, isUserCode ? customDir : null);
    const cwd = await files.makeHostDir(spec.name, slot);
    const process = await HostProcess.start({
      ...command,
      cwd,
      init: initOf(spec, artifacts, {
        customDir,
        logDir: files.logsDir(spec.name),
        job: spec.name,
        node: this.#options.node,
        process: slot,
      }),
      spoolDir: files.spoolDir,
      logSink: (stream, chunk) => log.append(stream, chunk),
      signal,
    });
    if (isShared || !isUserCode) return { process, custom: null };
    const custom = new CustomFolder(customDir, spec.settings.outputFileName);
    try {
      await custom.begin();
    } catch (error) {
      await process.kill();
      throw error;
    }
    return { process, custom };
  }

  async #command(spec: JobSpec, { model }: JobArtifacts, outputDir: string | null): Promise<HostCommand> {
    const { scorer, settings } = spec;
    const { environment } = this.#options;
    return hostCommand({
      scorer,
      python: isPythonScorer(scorer) ? await this.#findPython() : null,
      environment: {
        node: environment,
        deployment: settings.environmentVariables,
        modelDir: model?.dir ?? null,
        outputDir,
      },
    });
  }

  /** Once, when the first Python script comes; a failure is not kept: somebody may install one. */
  #findPython(): Promise<string> {
    this.#python ??= resolvePython(this.#options.python).catch((error: unknown) => {
      this.#python = null;
      throw error;
    });
    return this.#python;
  }

  /** Tells how a host starts and how it ends; its end comes after the outcome of what it was scoring. */
  async #watch(slot: number, host: number, held: Host): Promise<void> {
    const { tell } = this.#options;
    const ready = await held.process.then(
      (process) => process,
      (error: unknown) => toBatchError(error),
    );
    if (ready instanceof HostProcess) {
      tell({ kind: 'host-ready', slot, host });
      await ready.exited;
      await held.attempt;
    }
    this.#hosts.delete(host);
    this.#ends.delete(host);
    await held.log.close();
    if (ready instanceof HostProcess) tell({ kind: 'host-ended', slot, host });
    else tell({ kind: 'host-failed', slot, host, failure: ready.toFailure() });
  }

  async #score(
    held: Host,
    { slot, host, work, timeoutMs, first }: AttemptOrder,
    files: readonly HostFile[],
    keep: (scored: Scored) => WorkerCommand,
  ): Promise<void> {
    const { tell } = this.#options;
    const process = await held.process;
    if (held.isStale) await process.stop();
    if (!process.isAlive) return tell({ kind: 'attempt-unstarted', slot, host, work });
    const outcome = await process.score(files, { timeoutMs, first });
    const custom = await held.custom;
    const settled = custom ? await settleCustom(custom, process, outcome) : outcome;
    tell(commandOf(settled, { slot, host, work }, keep));
  }
}

/** What user code wrote belongs to the attempt: it goes with its result, or it goes. */
async function settleCustom(custom: CustomFolder, process: HostProcess, outcome: ScoreOutcome): Promise<ScoreOutcome> {
  if (outcome.kind === 'failed') return (await undone(custom, outcome)) ? outcome : await abandoned(process, outcome);
  try {
    outcome.body.beginCustom();
    await custom.collect(new Set(outcome.appended), outcome.body);
    return outcome;
  } catch (error) {
    await outcome.body.discard();
    const failure = toBatchError(error).toFailure();
    const failed = { kind: 'failed', failure, fileIndex: -1, class: 'error', isHostDead: false } as const;
    return (await undone(custom, failed)) ? failed : await abandoned(process, failed);
  }
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

function commandOf(
  outcome: ScoreOutcome,
  where: Pick<AttemptOrder, 'slot' | 'host' | 'work'>,
  keep: (scored: Scored) => WorkerCommand,
): WorkerCommand {
  if (outcome.kind === 'scored') return keep(outcome);
  const { failure, fileIndex, isHostDead } = outcome;
  const circumstances = { peakMemoryBytes: null, hostExit: null };
  return { kind: 'attempt-failed', ...where, failure, fileIndex, circumstances, isHostDead };
}

type HostPlace = Pick<HostInit, 'customDir' | 'logDir' | 'job' | 'node' | 'process'>;

function initOf({ scorer, settings }: JobSpec, { model, code }: JobArtifacts, place: HostPlace): HostInit {
  const { outputFormat, outputAction, loggingLevel } = settings;
  return {
    scorer,
    settings: { outputFormat, outputAction, loggingLevel },
    modelDir: model?.dir ?? null,
    modelPath: model?.path ?? null,
    codeDir: code?.path ?? null,
    ...place,
  };
}
