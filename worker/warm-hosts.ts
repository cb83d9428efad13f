/**
 * Scoring hosts without a job: they wait, as they are, for the next one that scores with the same, so that it begins without
 * loading anything. Few of them, not for long, and not where memory runs short.
 */
import { freemem, totalmem } from 'node:os';
import type { JobSpec } from '../common/core/cluster-messages.ts';
import { limits } from '../common/core/limits.ts';
import type { HostHome } from './node-files.ts';
import type { HostProcess } from './pool/host-process.ts';

export interface WarmHost {
  /** What it scores with, as {@link warmKey} has it. */
  readonly key: string;
  readonly process: HostProcess;
  readonly home: HostHome;
  readonly served: Served;
  /** Number under which it holds its device. */
  readonly deviceHost: number;
  /** Lets go of what it holds only while it waits: model and code. */
  readonly release: () => void;
  /** Called once, when it has ended here. */
  readonly onGone: () => void;
}

/** Whom a host serves at present: what it prints, and why a result of it waits. */
export interface Served {
  print: (stream: 'stdout' | 'stderr', chunk: Uint8Array) => void;
  wait: (reason: string) => void;
}

/** While it waits, nobody listens. */
const nobody: Served = { print: () => undefined, wait: () => undefined };

export interface WarmHostsOptions {
  readonly countMax: number;
  /** Default {@link limits.warmHostMsMax}. */
  readonly msMax?: number;
  /** Share of the machine's memory that is free; asked now and then. */
  readonly freeShare?: () => number;
}

/**
 * Two jobs with equal keys may be served by one process: nothing that it was started with or told at init() differs. Null where
 * hosts do not wait.
 */
export function warmKey(spec: JobSpec): string | null {
  const { settings, environment, scorer, model, code, owner } = spec;
  // A container sees the folders of one job; files written straight to an output are of that output.
  if (settings.keepWarm !== true || environment.kind === 'image' || settings.customOutput === 'shared') return null;
  const { timeoutMs: _timeout, outputFileName: _name, ...told } = settings;
  const of = [model?.name, model?.digest, code?.name, code?.digest];
  return JSON.stringify([owner, scorer, of, environment, told]);
}

interface Waiting {
  readonly host: WarmHost;
  readonly timer: NodeJS.Timeout;
}

export class WarmHosts {
  readonly #options: WarmHostsOptions;
  /** The one that has waited longest comes first. */
  #waiting: Waiting[] = [];
  readonly #ends = new Set<Promise<void>>();
  #look: NodeJS.Timeout | null = null;

  constructor(options: WarmHostsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** From now on it waits here, and ends here. */
  keep(host: WarmHost): void {
    Object.assign(host.served, nobody);
    const timer = setTimeout(() => this.dropWhere((one) => one === host), this.#options.msMax ?? limits.warmHostMsMax);
    this.#waiting.push({ host, timer: timer.unref() });
    void host.process.exited.then(() => this.dropWhere((one) => one === host));
    const [oldest] = this.#waiting;
    if (oldest && this.#waiting.length > this.#options.countMax) this.dropWhere((one) => one === oldest.host);
    this.#look ??= setInterval(() => this.dropIfShort(), limits.warmHostLookMs).unref();
  }

  /** The one that has waited for the shortest time: its memory is the least likely to lie on a disk by now. */
  take(key: string): WarmHost | null {
    const found = this.#waiting.findLast(({ host }) => host.key === key && host.process.isAlive);
    if (!found) return null;
    this.#remove(found);
    return found.host;
  }

  /** Memory is for what scores. */
  dropIfShort(): void {
    const free = this.#options.freeShare?.() ?? freemem() / totalmem();
    if (free < limits.warmHostFreeShare) this.dropWhere(() => true);
  }

  /** Ends those; {@link settled} waits for it. */
  dropWhere(isMeant: (host: WarmHost) => boolean): void {
    for (const one of this.#waiting.filter(({ host }) => isMeant(host))) {
      this.#remove(one);
      const end = one.host.process
        .stop()
        .then(one.host.onGone)
        .finally(() => this.#ends.delete(end));
      this.#ends.add(end);
    }
  }

  /** Resolves when none of those that were dropped is left. */
  async settled(): Promise<void> {
    await Promise.all(this.#ends);
  }

  #remove(one: Waiting): void {
    clearTimeout(one.timer);
    this.#waiting = this.#waiting.filter((other) => other !== one);
    if (this.#waiting.length > 0 || !this.#look) return;
    clearInterval(this.#look);
    this.#look = null;
  }
}
