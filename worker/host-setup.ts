/**
 * What a scoring host is started with: the interpreter or the environment of its job, a device, its share of the cores.
 * Built environments are made when the first host of a job needs them.
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { condaSetting, type Environment } from '../common/config/process-settings.ts';
import type { GpuReading, JobSpec } from '../common/core/cluster-messages.ts';
import { withSecrets } from '../common/core/secret-reference.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Delay } from '../common/io/delay.ts';
import type { Log } from '../common/io/log.ts';
import { Environments, type Prepared } from './environments/environments.ts';
import { findTools } from './environments/node-tools.ts';
import type { Device, FoundDevices } from './devices/device.ts';
import { modelLabel } from './devices/device-labels.ts';
import { DeviceWatch } from './devices/device-watch.ts';
import { findDevices } from './devices/find-devices.ts';
import { Devices, threadEnvironment } from './pool/devices.ts';
import { hostCommand, isPythonScorer, resolvePython, type Container, type HostCommand } from './pool/host-command.ts';

/** Who names devices there wants those. */
const deviceVariables = ['CUDA_VISIBLE_DEVICES', 'ROCR_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES'] as const;

export interface HostSetupOptions {
  /** Folder of built environments; absolute. */
  readonly environmentsDir: string;
  /** Folder of the node's own files, which a container must see too; absolute. */
  readonly scratchDir: string;
  /** A path or a name; null: whichever is on PATH. */
  readonly python: string | null;
  readonly slots: number;
  /** GPUs of the machine; absent: found when the first host needs to know. */
  readonly devices?: FoundDevices;
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
  #listed: Promise<FoundDevices> | null = null;
  #devices: Devices | null = null;
  /** Empty until the first host needs to know. */
  #found: readonly Device[] = [];
  /** Null where there is no driver. */
  #watch: DeviceWatch | null = null;
  #python: Promise<string> | null = null;

  constructor(options: HostSetupOptions) {
    const { environmentsDir: root, environment, python, clock, delay, log, devices } = options;
    this.#options = options;
    if (devices) this.#listed = Promise.resolve(devices);
    if (devices) this.#devices = new Devices(devices.devices.map(({ name }) => name));
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
    const { chosen, gpu } = await this.#devicesOf(host, spec);
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
      container: runner?.kind === 'apptainer' ? this.#container(runner, spec, gpu) : null,
    });
    return { ...command, warnings: prepared?.warnings ?? [] };
  }

  /** GPUs that hosts are given one by one. */
  async gpus(): Promise<number> {
    return (await this.devices()).length;
  }

  /** Those that the node may use. */
  async devices(): Promise<readonly Device[]> {
    return (await this.#allDevices()) && (await this.#findOnce()).devices;
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
    return isForGpu && deviceVariables.every((name) => settings.environmentVariables[name] === undefined);
  }

  /** Slots that may score the job at once, where its hosts are to have a share of a GPU; null: as many as there are. */
  slotsOf(spec: JobSpec): number | null {
    const { gpu = null, concurrencyMax } = spec.settings;
    if (gpu === null || !this.#devices || this.#devices.count === 0 || !this.usesDevice(spec)) return concurrencyMax;
    return Math.min(concurrencyMax ?? Infinity, this.#devices.hostsOf(gpu));
  }

  hasDevice(host: number): boolean {
    return this.#devices?.holds(host) ?? false;
  }

  /** What the host scores on, such as `a100`, or `a100 x0.5` for a share of it; `cpu` without a device. */
  deviceKind(host: number, share: number): string {
    const names = this.#devices?.heldBy(host) ?? [];
    const held = this.#found.filter(({ name }) => names.includes(name));
    const [device] = held;
    if (!device) return 'cpu';
    const kind = [modelLabel(device.model) || 'gpu', device.profile].filter(Boolean).join(' ');
    return share === 1 ? kind : `${kind} x${share}`;
  }

  /** The host is gone. */
  release(host: number): void {
    this.#devices?.release(host);
    this.#watch?.release(host);
  }

  /** How full the GPUs of the node are, while hosts have any. */
  gpuReadings(): readonly GpuReading[] {
    return this.#watch?.readings() ?? [];
  }

  /** The most that was in use of a GPU of the host's since it has it, by whomever; null: it has none, or nobody knows. */
  gpuPeakBytes(host: number): number | null {
    return this.#watch?.peakBytes(host) ?? null;
  }

  /** How full the host's GPUs are now and who else uses them, for people; null: it has none, or nobody knows. */
  async gpuText(host: number): Promise<string | null> {
    const names = this.#devices?.heldBy(host) ?? [];
    return names.length === 0 ? null : ((await this.#watch?.fullText(names)) ?? null);
  }

  async #devicesOf(
    host: number,
    spec: JobSpec,
  ): Promise<{ readonly chosen: Readonly<Record<string, string>>; readonly gpu: Container['gpu'] }> {
    const { devices, variable } = await this.#allDevices();
    const count = { AZ_BATCHAI_GPU_COUNT_FOUND: String(devices.count) };
    const device = this.usesDevice(spec) ? devices.take(host, spec.settings.gpu ?? 1) : null;
    // Without one the host sees what the node itself sees, never more.
    if (device === null) return { chosen: count, gpu: null };
    this.#watch?.hold(host, devices.heldBy(host));
    if (variable !== 'CUDA_VISIBLE_DEVICES') return { chosen: { ...count, [variable]: device }, gpu: 'amd' };
    // CUDA counts the fastest GPU first unless it is told to count as the driver does, whose numbers these are.
    return { chosen: { ...count, [variable]: device, CUDA_DEVICE_ORDER: 'PCI_BUS_ID' }, gpu: 'nvidia' };
  }

  #findOnce(): Promise<FoundDevices> {
    this.#listed ??= findDevices(this.#options.environment);
    return this.#listed;
  }

  async #allDevices(): Promise<{ readonly devices: Devices; readonly variable: string }> {
    const { program, devices, variable } = await this.#findOnce();
    this.#found = devices;
    const { environment, delay, log } = this.#options;
    const isThere = program !== null && devices.length > 0;
    if (isThere) this.#watch ??= new DeviceWatch({ found: { program, devices, variable }, environment, delay, log });
    this.#devices ??= new Devices(devices.map(({ name }) => name));
    return { devices: this.#devices, variable };
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
    gpu: Container['gpu'],
  ): Container {
    const dirs = [this.#options.scratchDir, inputRoot, ...(outputDir === null ? [] : [outputDir])];
    // Inputs that this machine does not see are fetched to the scratch folder.
    return { apptainer, image, binds: dirs.filter((dir) => existsSync(dir)), gpu };
  }
}
