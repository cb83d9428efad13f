/** Looks at the coordinator's machine and asks its worker nodes how theirs are; what that means is for `core/doctor`. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { MonotonicMs } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { lookAtPath, roomOf } from '../common/io/look-at-path.ts';
import { packageRuntime } from '../common/io/package-files.ts';
import { lastingCertificates } from './access/certificate-ends.ts';
import { doctorLines, type CoordinatorFacts, type NodeFacts } from './core/doctor.ts';
import type { DoctorLine } from './core/doctor-checks.ts';
import type { Ledger, Node } from './core/ledger.ts';
import type { CertificateResource } from './core/resources.ts';
import type { NodeDesk } from './node-desk.ts';

/** Where the coordinator listens. */
export type DoctorDoors = CoordinatorFacts['doors'];

/** A write of the journal with its sync. */
export interface LastWrite {
  readonly atMs: MonotonicMs;
  readonly seconds: number;
}

export interface DoctorOptions {
  readonly ledger: Ledger;
  readonly nodes: Pick<NodeDesk, 'diagnose'>;
  readonly clock: Clock;
  readonly release: string;
  readonly stateDir: string;
  /** Of the journal; null: none yet. */
  readonly lastWrite: () => LastWrite | null;
  /** When the server's certificate ends; null: it serves in the clear. */
  readonly certificateEndsMs: () => number | null;
  readonly doors: () => DoctorDoors;
}

export class DoctorDesk {
  readonly #options: DoctorOptions;

  constructor(options: DoctorOptions) {
    this.#options = options;
  }

  /** `paths`: absolute. Looks at nothing but what is there; no file is read. */
  async doctor(paths: readonly string[]): Promise<readonly DoctorLine[]> {
    const { ledger } = this.#options;
    const known = [...ledger.nodes.values()].filter(({ state }) => state !== 'gone');
    const certificates = lastingCertificates(ledger);
    const [coordinator, nodes] = await Promise.all([
      this.#coordinator(paths),
      Promise.all(known.map((node) => this.#node(node, certificates.get(node.name), paths))),
    ]);
    return doctorLines(coordinator, nodes);
  }

  async #coordinator(paths: readonly string[]): Promise<CoordinatorFacts> {
    const { ledger, clock, release, stateDir, certificateEndsMs, doors } = this.#options;
    const [room, loopLateMs, ...seen] = await Promise.all([
      roomOf(stateDir),
      loopLateness(),
      ...paths.map(async (path) => ({ path, seen: await lookAtPath(path) })),
    ]);
    const endsMs = certificateEndsMs();
    const journal = this.#options.lastWrite();
    return {
      ...{ nowMs: clock.wall(), release, runtime: process.versions.node, runtimeWanted: packageRuntime() },
      ...{ stateDir, room, stall: ledger.stall ?? ledger.shortage, loopLateMs, doors: doors(), paths: seen },
      journal: journal && { agoMs: clock.monotonic() - journal.atMs, seconds: journal.seconds },
      certificate: endsMs === null ? null : { endsMs, lifeMs: limits.serverCertificateMs },
    };
  }

  async #node(node: Node, certificate: CertificateResource | undefined, paths: readonly string[]): Promise<NodeFacts> {
    const { ledger, nodes } = this.#options;
    return {
      name: node.name,
      quarantines: [...ledger.jobs.values()].filter(({ sick }) => sick.has(node.name)).length,
      certificate: certificate
        ? { endsMs: certificate.expiresMs, lifeMs: certificate.expiresMs - certificate.createdMs }
        : null,
      answer: await nodes.diagnose(node.name, paths),
    };
  }
}

const resolutionMs = 10;

/** How late the event loop comes to its timers, at most, while it is watched for {@link limits.diagnosisLoopMs}. */
async function loopLateness(): Promise<number> {
  const watch = monitorEventLoopDelay({ resolution: resolutionMs });
  watch.enable();
  await delay(limits.diagnosisLoopMs, new AbortController().signal);
  watch.disable();
  // Of none at all the greatest is 0.
  return Math.max(0, watch.max / 1e6 - resolutionMs);
}
