/**
 * Watches how full and how busy the node's GPUs are while scoring hosts have any, by one program of the driver. A driver that
 * hangs, fails or talks nonsense costs the figures and nothing else: it is asked again, less and less often.
 */
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import type { Environment } from '../../common/config/process-settings.ts';
import type { GpuReading } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import type { Log } from '../../common/io/log.ts';
import { inTime } from '../../common/io/look-at-path.ts';
import { isOfOwnHost } from '../pool/process-groups.ts';
import type { Device, DriverProgram, FoundDevices } from './device.ts';
import { fullText, type DeviceUsage, type UsageQuery } from './device-usage.ts';
import { usageOnce, usageQuery } from './usage-queries.ts';

export interface DeviceWatchOptions {
  readonly found: FoundDevices & { readonly program: DriverProgram };
  readonly environment: Environment;
  readonly delay: Delay;
  readonly log: Pick<Log, 'warn'>;
  /** Default {@link limits.gpuSilenceMs}. */
  readonly silenceMs?: number;
}

interface Held {
  readonly ids: ReadonlySet<string>;
  peakBytes: number | null;
}

export class DeviceWatch {
  readonly #options: DeviceWatchOptions;
  /** By number of the host. */
  readonly #held = new Map<number, Held>();
  /** By id of the device. */
  readonly #latest = new Map<string, DeviceUsage>();
  #watching: AbortController | null = null;
  #hasWarned = false;
  #asking: Promise<readonly DeviceUsage[]> | null = null;

  constructor(options: DeviceWatchOptions) {
    this.#options = options;
  }

  /** The host has these devices until {@link release}. */
  hold(host: number, names: readonly string[]): void {
    if (this.#held.has(host)) return;
    this.#held.set(host, { ids: new Set(this.#devicesOf(names).map(({ id }) => id)), peakBytes: null });
    if (this.#watching) return;
    this.#watching = new AbortController();
    void this.#watch(this.#watching.signal);
  }

  release(host: number): void {
    if (!this.#held.delete(host) || this.#held.size > 0) return;
    this.#watching?.abort();
    this.#watching = null;
    this.#latest.clear();
  }

  /** Of all devices of the node; empty while no host has one, and while the driver does not answer. */
  readings(): readonly GpuReading[] {
    return this.#options.found.devices.flatMap((device) => {
      const usage = this.#latest.get(device.id);
      if (!usage) return [];
      const { usedBytes, totalBytes, busyPercent } = usage;
      const model = [device.model, device.profile].filter(Boolean).join(' ');
      return [{ name: device.name, model, usedBytes, totalBytes, busyPercent }];
    });
  }

  /** The most that was seen in use of a device of the host's since it has it, by whomever; null: nobody has looked. */
  peakBytes(host: number): number | null {
    return this.#held.get(host)?.peakBytes ?? null;
  }

  /** How full these devices are and who else uses them, for people; null where the driver does not say so in time. */
  async fullText(names: readonly string[]): Promise<string | null> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    const usages = await inTime(this.#asking, []);
    const texts = this.#devicesOf(names).flatMap((device) => {
      const usage = usages.find(({ id }) => id === device.id);
      return usage ? [fullText(`${device.name}${device.model && ` (${device.model})`}`, usage, isOfOwnHost)] : [];
    });
    return texts.length === 0 ? null : texts.join('; ');
  }

  #devicesOf(names: readonly string[]): readonly Device[] {
    return this.#options.found.devices.filter(({ name }) => names.includes(name));
  }

  async #ask(): Promise<readonly DeviceUsage[]> {
    const { found, environment } = this.#options;
    const { args, read } = usageOnce(found.program);
    const options = { env: { ...environment }, timeout: limits.diagnosisLookMsMax, maxBuffer: limits.gpuLookCharsMax };
    return await promisify(execFile)(found.program, [...args], { ...options, killSignal: 'SIGKILL' }).then(
      ({ stdout }) => read(stdout),
      () => [],
    );
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { found, delay } = this.#options;
    const query = usageQuery(found.program, found.devices);
    let failures = 0;
    while (!signal.aborted) {
      const isGood = await this.#run(query, signal);
      if (signal.aborted) return;
      failures = isGood ? 0 : failures + 1;
      if (!isGood) this.#lose();
      await delay(Math.min(limits.gpuLookMs * 2 ** failures, limits.gpuRetryMsMax), signal);
    }
  }

  #lose(): void {
    this.#latest.clear();
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const { program } = this.#options.found;
    this.#options.log.warn('it is not known how full the GPUs are; scoring goes on', { program });
  }

  /** Once, to its end; resolves with whether it has said how full devices are, and has not stood still after that. */
  #run({ args, lookEnd, read }: UsageQuery, signal: AbortSignal): Promise<boolean> {
    const { found, environment, silenceMs = limits.gpuSilenceMs } = this.#options;
    return new Promise((resolve) => {
      const child = spawn(found.program, [...args], { env: { ...environment }, stdio: ['ignore', 'pipe', 'ignore'] });
      // Neither keeps the worker node from ending; a program that goes on looking ends when nobody reads it any more.
      child.unref();
      let text = '';
      let hasFigures = false;
      let isStuck = false;
      const kill = (): void => void child.kill('SIGKILL');
      const silence = setTimeout(() => {
        isStuck = true;
        kill();
      }, silenceMs).unref();
      const take = (look: string): void => {
        if (signal.aborted || !this.#take(read(look))) return;
        hasFigures = true;
        silence.refresh();
      };
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        const looks = (text + chunk).split(lookEnd ?? '\0');
        text = looks.pop() ?? '';
        for (const look of looks) take(look + (lookEnd ?? ''));
        if (text.length > limits.gpuLookCharsMax) kill();
      });
      signal.addEventListener('abort', kill, { once: true });
      const end = (): void => {
        clearTimeout(silence);
        signal.removeEventListener('abort', kill);
        if (lookEnd === null) take(text);
        resolve(hasFigures && !isStuck);
      };
      // One that the kernel does not let go of is waited for: another one would hang beside it.
      child.on('error', end).on('close', end);
    });
  }

  /** False where there is nothing of a device of the node. */
  #take(usages: readonly DeviceUsage[]): boolean {
    const ids = new Set(this.#options.found.devices.map(({ id }) => id));
    const own = usages.filter(({ id }) => ids.has(id));
    for (const usage of own) {
      this.#latest.set(usage.id, usage);
      for (const held of this.#held.values()) {
        if (held.ids.has(usage.id)) held.peakBytes = Math.max(held.peakBytes ?? 0, usage.usedBytes);
      }
    }
    return own.length > 0;
  }
}
