/**
 * One job on the coordinator's real core, its worker nodes in virtual time: slots that take as long for a mini-batch as is
 * said, ask for work as real nodes do, and never fail. For what a plan of mini-batches comes to, to the microsecond.
 */
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import type { Job } from '../../coordinator/core/ledger.ts';
import type { Slot } from '../../worker/core/state.ts';
import { leasesAhead } from '../../worker/core/want.ts';
import { Harness, type EffectOf } from './ledger-harness.ts';

export interface VirtualJob {
  /** Of each input file, in input order. */
  readonly sizesBytes: readonly number[];
  /** Inside run(), for the files of one mini-batch by ordinal, on the node of that place. */
  readonly seconds: (files: readonly number[], node: number) => number;
  readonly settings: Partial<DeploymentSettings>;
  /** Slots of each node. */
  readonly nodes: readonly number[];
  /** Between a node and the coordinator, one way. */
  readonly latencyMs: number;
  /** What a mini-batch costs a slot besides run(). */
  readonly overheadMs: number;
  /** A page of the listing comes so long after the one before. */
  readonly pageMs: number;
  /** Rows of each file. */
  readonly rowBytes: number;
}

export interface VirtualRun {
  /** From the first page to the last commit. */
  readonly makespanMs: number;
  readonly miniBatches: number;
  /** Files of each mini-batch in the order of their grants, with the first one's ordinal. */
  readonly grants: readonly { readonly first: number; readonly count: number }[];
  /** Mini-batches that each node has scored. */
  readonly scoredBy: readonly number[];
  /** Most bytes of results that waited for their turn. */
  readonly stagedBytesMax: number;
  readonly job: Job;
}

interface VirtualNode {
  readonly index: number;
  scored: number;
  readonly name: NodeName;
  readonly slots: Slot[];
  readonly queue: EffectOf<'grant'>[];
  free: number;
  asked: number;
  runSeconds: number | null;
}

const pageFiles = 4_096;

/** `given`: a harness in which earlier jobs were played, whose ledger remembers them. */
export class VirtualSlots {
  readonly #plan: VirtualJob;
  readonly #h: Harness;
  readonly #nodes: readonly VirtualNode[];
  readonly #events: { readonly at: number; readonly order: number; readonly what: () => void }[] = [];
  readonly #grants: { readonly first: number; readonly count: number }[] = [];
  #order = 0;
  #stagedBytesMax = 0;

  constructor(plan: VirtualJob, given = new Harness()) {
    this.#plan = plan;
    this.#h = given;
    this.#nodes = plan.nodes.map((slots, index) => ({
      ...{
        name: given.node(`node-${index}`, 0, { slots }),
        slots: Array.from({ length: slots }, (): Slot => ({ kind: 'empty' })),
      },
      ...{ index, scored: 0, queue: [], free: slots, asked: 0, runSeconds: null },
    }));
  }

  run(): VirtualRun {
    const { sizesBytes, settings, pageMs } = this.#plan;
    const h = this.#h.submit(settings);
    const begin = h.now;
    const pages = Math.ceil(sizesBytes.length / pageFiles);
    for (let page = 0; page < pages; page += 1) {
      this.#after(page * pageMs, () => h.list(...sizesBytes.slice(page * pageFiles, (page + 1) * pageFiles)));
    }
    this.#after(pages * pageMs, () => h.endList());
    for (const node of this.#nodes) this.#ask(node);
    // Ticks, so that what waits for one goes on.
    const tick = (): void => {
      if (h.job.open === 0) return;
      h.give({ kind: 'tick', stallMs: 0, wallMs: 0 });
      for (const { name } of this.#nodes) h.heartbeat(name, this.#heldBy(name));
      this.#after(limits.tickMs, tick);
    };
    this.#after(limits.tickMs, tick);
    let endedAt = begin;
    while (this.#events.length > 0) {
      const next = this.#events.shift();
      if (!next) break;
      h.now = next.at;
      next.what();
      this.#carryOut();
      this.#stagedBytesMax = Math.max(this.#stagedBytesMax, h.ledger.stagedBytes);
      if (h.job.open > 0) endedAt = h.now;
    }
    const { job: done } = h;
    return {
      ...{ makespanMs: endedAt - begin, miniBatches: done.total, grants: this.#grants },
      ...{ stagedBytesMax: this.#stagedBytesMax, job: done, scoredBy: this.#nodes.map(({ scored }) => scored) },
    };
  }

  #heldBy(node: NodeName): readonly Token[] {
    return [...this.#h.ledger.leases.values()].filter((lease) => lease.node === node).map(({ token }) => token);
  }

  #after(ms: number, what: () => void): void {
    const at = this.#h.now + ms;
    let place = this.#events.length;
    while (place > 0 && (this.#events[place - 1]?.at ?? 0) > at) place -= 1;
    this.#events.splice(place, 0, { at, order: (this.#order += 1), what });
  }

  /** Free slots and some ahead, less what is on its way. */
  #ask(node: VirtualNode): void {
    const { runSeconds, slots, free, queue } = node;
    const ahead = leasesAhead({ runSeconds, stageSeconds: 0, slots });
    const leases = free + ahead - queue.length - node.asked;
    if (leases <= 0) return;
    node.asked += leases;
    this.#after(this.#plan.latencyMs, () => this.#h.give({ kind: 'want', node: node.name, leases }));
  }

  #carryOut(): void {
    for (const effect of this.#h.take()) {
      switch (effect.kind) {
        case 'grant': {
          const node = this.#nodes.find(({ name }) => name === effect.node) as VirtualNode;
          this.#grants.push(effect.range);
          this.#after(this.#plan.latencyMs, () => {
            node.asked -= 1;
            node.queue.push(effect);
            this.#begin(node);
          });
          break;
        }
        case 'recall': {
          const node = this.#nodes.find(({ name }) => name === effect.node) as VirtualNode;
          this.#after(this.#plan.latencyMs, () => {
            const place = node.queue.findIndex(({ token }) => token.counter === effect.token.counter);
            if (place < 0) return;
            node.queue.splice(place, 1);
            this.#h.give({ kind: 'returned', node: node.name, tokens: [effect.token] });
          });
          break;
        }
        case 'append':
        case 'stage':
          this.#after(0, () => this.#h.written(effect.token));
          break;
        case 'copy':
          this.#after(0, () => this.#h.copied());
          break;
        default:
          break;
      }
    }
  }

  #begin(node: VirtualNode): void {
    const { latencyMs, overheadMs, seconds, rowBytes } = this.#plan;
    while (node.free > 0) {
      const grant = node.queue.shift();
      if (!grant) break;
      node.free -= 1;
      const { token, range } = grant;
      const files = Array.from({ length: range.count }, (_, index) => range.first + index);
      const runSeconds = seconds(files, node.index);
      this.#after(latencyMs, () => this.#h.give({ kind: 'started', node: node.name, tokens: [token] }));
      this.#after(overheadMs + runSeconds * 1_000, () => {
        node.free += 1;
        node.scored += 1;
        node.runSeconds = node.runSeconds === null ? runSeconds : 0.8 * node.runSeconds + 0.2 * runSeconds;
        this.#after(latencyMs, () => {
          const length = rowBytes * range.count;
          this.#h.result(node.name, token, { length, summary: { runSeconds } });
        });
        this.#begin(node);
      });
    }
    this.#ask(node);
  }
}

/** What no plan can beat: all work shared out evenly, and not less than the longest file. */
export function lowerBoundMs({ sizesBytes, seconds, nodes }: VirtualJob): number {
  const slots = nodes.reduce((sum, one) => sum + one, 0);
  const each = sizesBytes.map((_, file) => seconds([file], 0));
  const longest = each.reduce((most, one) => Math.max(most, one), 0);
  return 1_000 * Math.max(each.reduce((sum, one) => sum + one, 0) / slots, longest);
}
