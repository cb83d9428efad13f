/**
 * What a scoring host is started with: the interpreter or the environment of its job, a device, its share of the cores.
 * Built environments are made when the first host of a job needs them.
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { condaSetting, type Environment } from '../common/config/process-settings.ts';
import type { JobSpec } from '../common/core/cluster-messages.ts';
import { withSecrets } from '../common/core/secret-reference.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Delay } from '../common/io/delay.ts';
import type { Log } from '../common/io/log.ts';
import { Environments, type Prepared } from './environments/environments.ts';
import { findTools } from './environments/node-tools.ts';
import { Devices, threadEnvironment } from './pool/devices.ts';
import { hostCommand, isPythonScorer, resolvePython, type Container, type HostCommand } from './pool/host-command.ts';

export interface HostSetupOptions {
  /** Folder of built environments; absolute. */
  readonly environmentsDir: string;
  /** Folder of the node's own files, which a container must see too; absolute. */
  readonly scratchDir: string;
  /** A path or a name; null: whichever is on PATH. */
  readonly python: string | null;
  readonly slots: number;
  /** Of the worker node. */
  readonly environment: Environment;
  readonly clock: Clock;
  readonly delay: Delay;
  readonly log: Log;
}

export interface HostOrder {
  /** Number of the host. */
  readonly host: number;
  readonly spec: JobSpec;
  /** Folder that holds the model under its basename; null without a model. */
  readonly modelDir: string | null;
  /** Where user code writes files of its own; null for scorers that are none of the user's. */
  readonly outputDir: string | null;
  /** Ends the wait for an environment. */
  readonly signal: AbortSignal;
  /** A line for people while an environment is being built; empty at the end. */
  readonly onProgress: (text: string) => void;
}

export interface PreparedCommand extends HostCommand {
  /** For whoever reads the log of the host. */
  readonly warnings: readonly string[];
}

export class HostSetup {
  readonly environments: Environments;
  readonly #options: HostSetupOptions;
  #devices: Promise<Devices> | null = null;
  #found: Devices | null = null;
  #python: Promise<string> | null = null;

  constructor(options: HostSetupOptions) {
    const { environmentsDir: root, environment, python, clock, delay, log } = options;
    this.#options = options;
    const tools = { environment, conda: condaSetting(environment), python };
    this.environments = new Environments({
      root,
      environment,
      findTools: () => findTools(tools),
      clock,
      delay,
      log,
    });
  }

  /**
   * How the host is started. Its device is in its hands until {@link release}. Throws PYTHON_NOT_FOUND, what
   * `Environments.prepare` throws, and the signal's reason.
   */
  async command({ host, spec, modelDir, outputDir, signal, onProgress }: HostOrder): Promise<PreparedCommand> {
    const { scorer, environment: wanted, settings } = spec;
    const { environment: node, slots } = this.#options;
    const isPython = isPythonScorer(scorer);
    const prepared =
      isPython && wanted.kind !== 'host' ? await this.environments.prepare(wanted, { signal, onProgress }) : null;
    const deployment = withSecrets(settings.environmentVariables, settings.secrets ?? {});
    const { chosen, device } = await this.#devicesOf(host, spec);
    const hosts = Math.min(slots, settings.concurrencyMax ?? slots);
    const threads = threadEnvironment(availableParallelism(), hosts, node, deployment);
    const runner = prepared?.runner ?? null;
    const command = hostCommand({
      scorer,
      python: isPython ? await this.#pythonOf(wanted.kind === 'host' ? wanted.python : null, prepared) : null,
      environment: {
        node,
        deployment,
        modelDir,
        outputDir,
        chosen: { ...threads, ...chosen },
        built: runner === null || runner.kind === 'apptainer' ? null : runner,
      },
      container: runner?.kind === 'apptainer' ? this.#container(runner, spec, device !== null) : null,
    });
    return { ...command, warnings: prepared?.warnings ?? [] };
  }

  /** GPUs that hosts are given one by one. */
  async gpus(): Promise<number> {
    return (await this.#allDevices()).count;
  }

  /** The node's own interpreter. @throws PYTHON_NOT_FOUND */
  python(): Promise<string> {
    return this.#ownPython();
  }

  /** Whether its hosts are given a GPU as long as there is one. */
  usesDevice({ scorer, settings }: JobSpec): boolean {
    const isForGpu =
      scorer.kind === 'onnx'
        ? scorer.settings.providers.some((provider) => provider !== 'cpu')
        : scorer.kind !== 'encode';
    // Who names devices in the deployment wants those.
    return isForGpu && settings.environmentVariables['CUDA_VISIBLE_DEVICES'] === undefined;
  }

  hasDevice(host: number): boolean {
    return this.#found?.holds(host) ?? false;
  }

  /** The host is gone. */
  release(host: number): void {
    void this.#devices?.then((devices) => devices.release(host));
  }

  async #devicesOf(
    host: number,
    spec: JobSpec,
  ): Promise<{ readonly chosen: Readonly<Record<string, string>>; readonly device: string | null }> {
    const devices = await this.#allDevices();
    const count = { AZ_BATCHAI_GPU_COUNT_FOUND: String(devices.count) };
    const device = this.usesDevice(spec) ? devices.take(host) : null;
    // Without one the host sees what the node itself sees, never more.
    return { chosen: device === null ? count : { ...count, CUDA_VISIBLE_DEVICES: device }, device };
  }

  #allDevices(): Promise<Devices> {
    this.#devices ??= Devices.find(this.#options.environment).then((found) => (this.#found = found));
    return this.#devices;
  }

  async #pythonOf(named: string | null, prepared: Prepared | null): Promise<string | null> {
    if (prepared) return prepared.runner.kind === 'apptainer' ? null : prepared.runner.python;
    return named === null ? this.#ownPython() : resolvePython(named);
  }

  /** Once, when the first Python script comes; a failure is not kept: somebody may install one. */
  #ownPython(): Promise<string> {
    this.#python ??= resolvePython(this.#options.python).catch((error: unknown) => {
      this.#python = null;
      throw error;
    });
    return this.#python;
  }

  #container(
    { apptainer, image }: { readonly apptainer: string; readonly image: string },
    { inputRoot, outputDir }: JobSpec,
    hasGpu: boolean,
  ): Container {
    const dirs = [this.#options.scratchDir, inputRoot, ...(outputDir === null ? [] : [outputDir])];
    // Inputs that this machine does not see are fetched to the scratch folder.
    return { apptainer, image, binds: dirs.filter((dir) => existsSync(dir)), hasGpu };
  }
}
