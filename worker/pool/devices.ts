/**
 * GPUs of the node, one for each scoring host until they are exhausted.
 *
 * @source Azure ML batch scoring: CUDA_VISIBLE_DEVICES holds one index per worker; later workers get no variable; an index
 * is released when its worker dies. AZ_BATCHAI_GPU_COUNT_FOUND is the number of GPUs of the node.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from '../../common/config/process-settings.ts';
import { passesToHost } from './host-environment.ts';

const listingTimeoutMs = 20_000;

/**
 * What may stand in CUDA_VISIBLE_DEVICES of one host each, in order. `listing`: what `nvidia-smi -L` prints, empty without
 * GPUs. `visible`: the same variable of the worker node, which limits and orders them; undefined: all.
 */
export function visibleDevices(listing: string, visible: string | undefined): readonly string[] {
  const gpus = readListing(listing);
  if (visible === undefined) {
    return gpus.flatMap(({ index, instances }) => (instances.length > 0 ? instances : [String(index)]));
  }
  const isThere = (name: string): boolean =>
    /^\d+$/.test(name)
      ? gpus.some(({ index }) => index === Number(name))
      : gpus.some(({ uuid, instances }) => [uuid, ...instances].some((whole) => whole.startsWith(name)));
  const names = visible.split(',').map((name) => name.trim());
  // As CUDA reads it: what stands behind a name that is no device does not count.
  const end = names.findIndex((name) => name === '' || !isThere(name));
  return end < 0 ? names : names.slice(0, end);
}

interface Gpu {
  readonly index: number;
  readonly uuid: string;
  /** Of a GPU that is partitioned; programs cannot use it as a whole then. */
  readonly instances: readonly string[];
}

function readListing(listing: string): readonly Gpu[] {
  const gpus: { index: number; uuid: string; instances: string[] }[] = [];
  for (const line of listing.split('\n')) {
    const gpu = /^GPU (\d+):.*\(UUID: (GPU-[^)]+)\)/.exec(line);
    if (gpu) gpus.push({ index: Number(gpu[1]), uuid: gpu[2] as string, instances: [] });
    const instance = /^\s+MIG .*\(UUID: (MIG-[^)]+)\)/.exec(line)?.[1];
    if (instance !== undefined) gpus.at(-1)?.instances.push(instance);
  }
  return gpus;
}

export class Devices {
  /** GPUs of the node. */
  readonly count: number;
  readonly #free: string[];
  readonly #held = new Map<number, string>();

  constructor(devices: readonly string[]) {
    this.count = devices.length;
    this.#free = [...devices];
  }

  /** Asks the driver; a node without one has no GPUs. */
  static async find(environment: Environment): Promise<Devices> {
    const visible = environment['CUDA_VISIBLE_DEVICES'];
    // Starting a program that is not there costs a fork of this process.
    if (!isOnPath('nvidia-smi', environment)) return new Devices([]);
    try {
      const env = { ...environment };
      const { stdout } = await promisify(execFile)('nvidia-smi', ['-L'], { timeout: listingTimeoutMs, env });
      return new Devices(visibleDevices(stdout, visible));
    } catch {
      // No such program, or one that finds no driver: the same thing here.
      return new Devices([]);
    }
  }

  holds(host: number): boolean {
    return this.#held.has(host);
  }

  /** The device for `host`, in its hands until {@link release}; null when all are taken. */
  take(host: number): string | null {
    const device = this.#held.get(host) ?? this.#free.shift();
    if (device === undefined) return null;
    this.#held.set(host, device);
    return device;
  }

  release(host: number): void {
    const device = this.#held.get(host);
    if (device === undefined) return;
    this.#held.delete(host);
    // To the front: a device that was used just now is warm.
    this.#free.unshift(device);
  }
}

function isOnPath(program: string, { PATH = '' }: Environment): boolean {
  return PATH.split(delimiter).some((dir) => dir !== '' && existsSync(join(dir, program)));
}

/** Variables that say how many threads a numeric library starts. */
const threadVariables = ['OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'] as const;

/**
 * Threads of numeric libraries in one scoring host: each library starts as many as the machine has cores, in every host,
 * and `hosts` of them beside each other would then spend their time on changing places. Empty where the node or the
 * deployment has said something itself: the other libraries follow OMP_NUM_THREADS.
 */
export function threadEnvironment(
  cores: number,
  hosts: number,
  node: Environment,
  deployment: Environment,
): Readonly<Record<string, string>> {
  const isSet = (name: string): boolean =>
    deployment[name] !== undefined || (passesToHost(name) && node[name] !== undefined);
  if (isSet('OMP_NUM_THREADS')) return {};
  const threads = String(Math.max(1, Math.floor(cores / hosts)));
  return Object.fromEntries(threadVariables.filter((name) => !isSet(name)).map((name) => [name, threads]));
}
