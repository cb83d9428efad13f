/**
 * How a scoring host comes to be and what becomes of its process: started for a job, or taken from those that wait; kept
 * for the next job, or removed with all it had here.
 */
import { access, constants } from 'node:fs/promises';
import { BatchError, type Failure } from '../common/core/batch-error.ts';
import type { JobSpec } from '../common/core/cluster-messages.ts';
import type { HostInit } from '../common/core/host-protocol.ts';
import type { JobName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import { defaultOutputForm } from '../common/core/output-form.ts';
import type { Clock } from '../common/io/clock.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { WorkerCommand } from './core/commands.ts';
import type { CallOf, CallSizes } from './devices/call-sizes.ts';
import { HostLog } from './host-log.ts';
import type { HostSetup } from './host-setup.ts';
import type { HostHome, NodeFiles } from './node-files.ts';
import { CustomFolder } from './pool/custom-folder.ts';
import { isGpuWant } from './pool/host-failures.ts';
import { HostProcess } from './pool/host-process.ts';
import type { SecretMask } from './secret-mask.ts';
import type { LocalisedArtifact } from './staging/artifact-cache.ts';
import { warmKey, WarmHosts, type Served, type WarmHost } from './warm-hosts.ts';

/** Model and code of a job on this machine. */
export interface JobArtifacts {
  readonly model: LocalisedArtifact | null;
  readonly code: LocalisedArtifact | null;
  /** Of the job's shadow; rejects when they cannot be had. Absent: there is none. */
  readonly shadow?: Promise<JobArtifacts>;
}

export interface HostStartsOptions {
  /** Name of the worker node, as scripts are told it. */
  readonly node: string;
  readonly files: NodeFiles;
  /** What hosts are started with. */
  readonly setup: HostSetup;
  /** Of stdout and stderr of each host. */
  readonly hostLogBytesMax: number;
  /** What was learnt of calls of models; absent: nothing is kept. */
  readonly callSizes?: CallSizes;
  /** Keeps model and code of a job on this machine until what it returns is called. */
  readonly holdArtifacts: (spec: JobSpec) => () => void;
  /** Resolves when model and code are as they were fetched, whatever the scripts of earlier hosts have done to them. */
  readonly checkArtifacts: (spec: JobSpec) => Promise<void>;
  /** Hosts that wait for their next job; default: as many as there are slots. */
  readonly warm?: WarmHosts;
  readonly slots: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly tell: (command: WorkerCommand) => void;
}

/** Where a host is: its slot, its number on the node, and (later) its number in the job's log tree. */
export interface HostAt {
  readonly slot: number;
  readonly host: number;
  readonly number: Promise<number>;
  /** Absent: the job's own scorer. */
  readonly part?: 'shadow';
}

export interface Started {
  readonly process: HostProcess;
  readonly custom: CustomFolder | null;
  /** With which it may wait for another job; null: it ends with this one. */
  readonly afterwards: Omit<WarmHost, 'release' | 'onGone'> | null;
  /** Number under which it holds its device. */
  readonly deviceHost: number;
  /** It has served another job before. */
  readonly isWarm: boolean;
}

export class HostStarts {
  readonly #options: HostStartsOptions;
  /** Number of the next host of each job. */
  readonly #processes = new Map<JobName, Promise<number>>();
  readonly #warm: WarmHosts;
  /** Processes. */
  started = 0;

  constructor(options: HostStartsOptions) {
    this.#options = options;
    this.#warm = options.warm ?? new WarmHosts({ countMax: options.slots });
  }

  /** One after the other, so that a replacement is a process of its own in the log tree, as on Azure. */
  nextProcess(job: JobName): Promise<number> {
    const number = this.#processes.get(job) ?? this.#options.files.firstFreeProcess(job);
    this.#processes.set(
      job,
      number.then((taken) => taken + 1),
    );
    return number;
  }

  openLog(job: JobName, process: number, mask: SecretMask | null, part: 'shadow' | null = null): HostLog {
    const { files, log, hostLogBytesMax: bytesMax } = this.#options;
    return new HostLog({ dir: files.logsDir(job), part, process, bytesMax, mask, log });
  }

  /** @throws BatchError, and the signal's reason */
  async start(
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
    const again = warm && (await this.#startAgain(warm, spec, log));
    if (again) return again;
    // What waits gives way: to who needs a device, and where memory is short.
    if (setup.usesDevice(spec)) this.#warm.dropWhere(({ deviceHost }) => setup.hasDevice(deviceHost));
    this.#warm.dropIfShort();
    await this.#warm.settled();
    this.started += 1;
    await this.#options.checkArtifacts(spec);
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
    const callSize = (await this.#options.callSizes?.find(this.#callOf(spec, host))) ?? null;
    const process = await HostProcess.start({
      ...command,
      cwd,
      init: initOf(spec, artifacts, {
        customDir,
        logDir: home?.logLink ?? files.userLogsDir(spec.name, part),
        job: spec.name,
        node: this.#options.node,
        process: number,
        ...(callSize !== null && { callSize }),
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

  /**
   * The process has served another job, of which it finds nothing outside of its own memory. Null: it is of no use, since that job's
   * files cannot be removed; it is gone then.
   */
  async #startAgain(warm: WarmHost, spec: JobSpec, log: HostLog): Promise<Started | null> {
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
      this.#options.log.warn('a scoring host that waited is replaced by a new one', { reason: reasonOf(error) });
      return null;
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

  /** For hosts of the same model and code on such a device, here and after the next start. */
  async learn(spec: JobSpec, { deviceHost }: Started, size: number): Promise<void> {
    await this.#options.callSizes?.learn(this.#callOf(spec, deviceHost), size);
  }

  #callOf({ model, code, settings }: JobSpec, host: number): CallOf {
    const device = this.#options.setup.deviceKind(host, settings.gpu ?? 1);
    return { model: model?.digest ?? null, code: code?.digest ?? null, device };
  }

  /** The process waits for another job from here on, if it may. */
  keep(spec: JobSpec, { afterwards, deviceHost, process }: Started): boolean {
    if (!afterwards || !process.isAlive) return false;
    const { setup, holdArtifacts, files } = this.#options;
    const release = holdArtifacts(spec);
    const onGone = (): void => {
      release();
      setup.release(deviceHost);
      void files.removeHostHome(afterwards.home);
    };
    this.#warm.keep({ ...afterwards, release, onGone });
    return true;
  }

  /** The most that was in use of its GPU while it lived, by whomever; null: it has none, or nobody knows. */
  gpuPeakBytes(deviceHost: number): number | null {
    return this.#options.setup.gpuPeakBytes(deviceHost);
  }

  /** A failure for want of GPU memory, with how full the host's GPU is and who else uses it; any other as it is. */
  async withGpu(failure: Failure, deviceHost: number): Promise<Failure> {
    if (!isGpuWant(failure.message)) return failure;
    const text = await this.#options.setup.gpuText(deviceHost);
    return text === null ? failure : { ...failure, message: `${failure.message}; ${text}` };
  }

  /** Of a host that is gone: its device, its folder. */
  async removeTraces(deviceHost: number, home: HostHome | null): Promise<void> {
    this.#options.setup.release(deviceHost);
    if (home) await this.#options.files.removeHostHome(home);
  }

  /** Memory is short: those that wait are ended. */
  dropWaiting(): void {
    this.#warm.dropWhere(() => true);
  }

  /** The job has ended. */
  forget(job: JobName): void {
    this.#processes.delete(job);
  }

  /** Resolves when none of those that wait is left. */
  async close(): Promise<void> {
    this.dropWaiting();
    await this.#warm.settled();
  }
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

type HostPlace = Pick<HostInit, 'customDir' | 'logDir' | 'job' | 'node' | 'process' | 'callSize'>;

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
