/**
 * Who is to have an artifact from whom: the first few nodes that want it take it from the coordinator, all others from nodes
 * that have it by then, each of which serves only so many at a time. Nothing of it is durable: after a restart nodes that
 * want an artifact begin again with the coordinator. Pure: who offers, who wants and what failed comes in, with the time.
 */
import type { Digest, MonotonicMs, NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';

/** Where a node is to have an artifact from. */
export type ArtifactChoice =
  | { readonly from: 'coordinator' }
  | { readonly from: 'node'; readonly node: NodeName }
  /** All who have it have enough to do: ask again. */
  | { readonly from: 'later'; readonly waitMs: number };

export interface ArtifactWish {
  readonly node: NodeName;
  readonly digest: Digest;
  readonly bytes: number;
  /** Nodes that it could not be had from. */
  readonly failed: readonly NodeName[];
}

interface Spread {
  /** Nodes that take it from the coordinator, and until when that is believed. */
  readonly seeds: Map<NodeName, MonotonicMs>;
  /** Nodes that have it, and whom they serve until when. */
  readonly holders: Map<NodeName, Map<NodeName, MonotonicMs>>;
}

export class ArtifactSpread {
  /** The one that was wanted last is last. */
  readonly #spreads = new Map<Digest, Spread>();
  /** Nodes that could not be reached, or gave wrong bytes, and to whom. */
  readonly #failures = new Map<NodeName, Set<NodeName>>();

  /** The node has the artifact, and gives it to others. */
  offered(node: NodeName, digest: Digest): void {
    const spread = this.#of(digest);
    this.#settle(spread, node, true);
    if (!spread.holders.has(node)) spread.holders.set(node, new Map());
  }

  choose({ node, digest, bytes, failed }: ArtifactWish, now: MonotonicMs): ArtifactChoice {
    const spread = this.#of(digest);
    this.#settle(spread, node, false);
    for (const other of failed) this.#failedFor(other, node);
    const untilMs = (now + limits.artifactSpreadMsMin + bytes / limits.artifactSpreadBytesPerMs) as MonotonicMs;
    const holder = this.#leastBusy(spread, node, failed, now);
    if (holder && holder.busy < limits.artifactServedMax) {
      spread.holders.get(holder.node)?.set(node, untilMs);
      return { from: 'node', node: holder.node };
    }
    // While there is somebody to wait for, the coordinator is not asked once more; but who has tried in vain is not to wait
    // for others that it may not reach either.
    const isSeatFree = !holder && liveEntries(spread.seeds, now) < limits.artifactSeedsMax;
    if (isSeatFree || failed.length >= limits.artifactPeersTriedMax) {
      spread.seeds.set(node, untilMs);
      return { from: 'coordinator' };
    }
    return { from: 'later', waitMs: limits.artifactAskAgainMs };
  }

  /** It has gone, or begun anew: what it had it offers again. */
  forget(node: NodeName): void {
    this.#failures.delete(node);
    for (const spread of this.#spreads.values()) {
      this.#settle(spread, node, false);
      spread.holders.delete(node);
    }
  }

  #of(digest: Digest): Spread {
    const spread = this.#spreads.get(digest) ?? { seeds: new Map(), holders: new Map() };
    this.#spreads.delete(digest);
    this.#spreads.set(digest, spread);
    for (const oldest of this.#spreads.keys()) {
      if (this.#spreads.size <= limits.artifactSpreadsMax) break;
      this.#spreads.delete(oldest);
    }
    return spread;
  }

  /** What the node was told before is over. `isDone`: it has it now, so that whoever gave it can be reached. */
  #settle({ seeds, holders }: Spread, node: NodeName, isDone: boolean): void {
    seeds.delete(node);
    for (const [holder, served] of holders) {
      if (served.delete(node) && isDone) this.#failures.delete(holder);
    }
  }

  #failedFor(holder: NodeName, node: NodeName): void {
    const failures = this.#failures.get(holder) ?? new Set();
    this.#failures.set(holder, failures.add(node));
  }

  /** Of those who have it and can be reached, as far as anybody knows; null: there is none. */
  #leastBusy(
    { holders }: Spread,
    node: NodeName,
    failed: readonly NodeName[],
    now: MonotonicMs,
  ): { readonly node: NodeName; readonly busy: number } | null {
    let least: { readonly node: NodeName; readonly busy: number } | null = null;
    for (const [holder, served] of holders) {
      if (holder === node || failed.includes(holder)) continue;
      if ((this.#failures.get(holder)?.size ?? 0) >= limits.artifactPeerFailuresMax) continue;
      const busy = liveEntries(served, now);
      if (least === null || busy < least.busy) least = { node: holder, busy };
    }
    return least;
  }
}

/** How many have not run out; the others go. */
function liveEntries(entries: Map<NodeName, MonotonicMs>, now: MonotonicMs): number {
  for (const [node, untilMs] of entries) if (untilMs <= now) entries.delete(node);
  return entries.size;
}
