/**
 * GPUs of the node, one for each scoring host until they are exhausted, or the share that the deployment asks for.
 *
 * @source Azure ML batch scoring: CUDA_VISIBLE_DEVICES holds one index per worker; later workers get no variable; an index
 * is released when its worker dies. AZ_BATCHAI_GPU_COUNT_FOUND is the number of GPUs of the node.
 */
import type { Environment } from '../../common/config/process-settings.ts';
import { passesToHost } from './host-environment.ts';

/** Shares are fractions of people's making: three times 0.33 is a whole. */
const shareTolerance = 0.011;

interface Place {
  readonly device: string;
  /** Share that nobody holds. */
  free: number;
}

export class Devices {
  /** GPUs of the node. */
  readonly count: number;
  /** The one that was used last first: it is warm. */
  readonly #places: Place[];
  readonly #held = new Map<number, { readonly places: readonly Place[]; readonly share: number }>();

  constructor(devices: readonly string[]) {
    this.count = devices.length;
    this.#places = devices.map((device) => ({ device, free: 1 }));
  }

  /** Hosts that have their `share` at once: of one GPU, or so many whole ones. */
  hostsOf(share: number): number {
    const wanted = this.#wanted(share);
    return wanted > 1 ? Math.floor(this.count / wanted) : this.count * Math.floor((1 + shareTolerance) / wanted);
  }

  holds(host: number): boolean {
    return this.#held.has(host);
  }

  /** Names of those that the host has. */
  heldBy(host: number): readonly string[] {
    return this.#held.get(host)?.places.map(({ device }) => device) ?? [];
  }

  /**
   * What stands in the variable of `host`, in its hands until {@link release}: a device that has the share left, the one with
   * most of it, or as many whole ones. Null when there is no such.
   */
  take(host: number, share = 1): string | null {
    const held = this.#held.get(host);
    if (held) return nameOf(held.places);
    const wanted = this.#wanted(share);
    const each = Math.min(1, wanted);
    const free = this.#places.filter((place) => place.free + shareTolerance >= each);
    const places = [...free].sort((a, b) => b.free - a.free).slice(0, Math.ceil(wanted));
    if (places.length < Math.max(1, Math.ceil(wanted))) return null;
    for (const place of places) place.free -= each;
    this.#held.set(host, { places, share: each });
    return nameOf(places);
  }

  release(host: number): void {
    const held = this.#held.get(host);
    if (held === undefined) return;
    this.#held.delete(host);
    for (const place of [...held.places].reverse()) {
      place.free += held.share;
      this.#places.splice(this.#places.indexOf(place), 1);
      this.#places.unshift(place);
    }
  }

  /** Who asks for more than there is has all. */
  #wanted(share: number): number {
    return Math.min(share, Math.max(1, this.count));
  }
}

function nameOf(places: readonly Place[]): string {
  return places.map(({ device }) => device).join(',');
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
