/**
 * Who gets what next.
 *
 * In input order, so that the output grows, results go straight into it and files are read as they lie; but what is long
 * goes before its turn, so that it does not begin when the others end. Long is what takes a good part of what each slot
 * has still to do, or many times as long as the others. The head of the order is never passed over, and nothing is once
 * results that wait for their turn have taken half of their room.
 */
import type { NodeName } from '../../common/core/ids.ts';
import { isOneOf, isServed } from './computes.ts';
import { laneOf, type Turn } from './job-queue.ts';
import { attended, isAtWork, type Job, type Ledger, type Node } from './ledger.ts';
import type { Event } from './events.ts';
import { mayGrant } from './granting.ts';
import { limits } from '../../common/core/limits.ts';
import { endsInTime } from './node-end.ts';
import { filesToCut, targetSeconds, type CutMood } from './plan.ts';
import { lengthOf } from './rates.ts';
import { isWindowNarrow, isWithinWindow } from './staging-window.ts';

/** A mini-batch of the table, or one to be cut behind the first files of a run of it; `files` 0: it is cut. */
interface Choice {
  readonly batch: number;
  readonly skipped: number;
  readonly files: number;
}

/**
 * The next lease to grant, after the mini-batch has been cut if it must be; empty when nothing fits. Jobs as they are queued;
 * nodes in turn, so that the first one does not take all. A mini-batch that failed on a node, or was taken back from it, is for
 * others as long as there are any.
 */
export function nextGrant(ledger: Ledger, now: number): readonly Event[] {
  if (ledger.hungry.size === 0 || ledger.runnable.size === 0) return [];
  const at = attended(ledger, now);
  if (!mayGrant(ledger, at)) return [];
  for (const job of ledger.runnable.inTurn(turnOf(ledger))) {
    for (const nodeName of ledger.hungry) {
      const node = ledger.nodes.get(nodeName);
      const choice = node && offerOf(ledger, job, node, at);
      if (choice) return grantEvents(ledger, job, nodeName, choice, at);
    }
  }
  return [];
}

/** Who is next, as leases and nodes stand now. */
export function turnOf(ledger: Ledger): Turn {
  let served: Map<string | null, boolean> | undefined;
  return {
    held: (owner) => ledger.heldBy.get(owner) ?? 0,
    isServed: (nodes) => {
      if (nodes.compute === null && !nodes.require) return true;
      const lane = laneOf(nodes);
      served ??= new Map();
      const known = served.get(lane) ?? isServed(ledger, nodes);
      served.set(lane, known);
      return known;
    },
  };
}

/** Whether the job has something that the node may be granted now. `at`: attended milliseconds. */
export function hasOffer(ledger: Ledger, job: Job, node: Node, at: number): boolean {
  return offerOf(ledger, job, node, at) !== undefined;
}

function offerOf(ledger: Ledger, job: Job, node: Node, at: number): Choice | undefined {
  if (!isAllowed(ledger, job, node)) return undefined;
  const wanted = choose(ledger, job, node.name, at);
  const choice = wanted && inTime(ledger, job, node, wanted, at);
  return choice !== undefined && isWithinWindow(ledger, job, choice.batch) ? choice : undefined;
}

/** What the node can end before it leaves: the whole choice, or the first files of what is cut now. */
function inTime(ledger: Ledger, job: Job, node: Node, choice: Choice, at: number): Choice | undefined {
  if (node.endsAt === null) return choice;
  const { batch, skipped } = choice;
  const { batches, fileSizes } = job;
  if (choice.files === 0) {
    const work = { files: batches.files(batch), bytes: batches.bytesOf(batch) };
    return endsInTime(ledger, job, node, work, at) ? choice : undefined;
  }
  for (let { files } = choice; files > 0; files = Math.floor(files / 2)) {
    let bytes = 0;
    for (let file = 0; file < files; file += 1) bytes += fileSizes.bytes(batches.first(batch) + skipped + file);
    if (endsInTime(ledger, job, node, { files, bytes }, at)) return { batch, skipped, files };
  }
  return undefined;
}

function grantEvents(ledger: Ledger, job: Job, node: NodeName, choice: Choice, at: number): readonly Event[] {
  const { batch: row, skipped, files } = choice;
  const token = { epoch: ledger.epoch, counter: ledger.grants + 1 };
  // Behind files that stay uncut it becomes a row of its own.
  const batch = skipped > 0 ? job.batches.count : row;
  const grant: Event = { kind: 'LeaseGranted', job: job.name, batch, node, token, at };
  return files === 0 ? [grant] : [{ kind: 'Cut', job: job.name, batch: row, skipped, files }, grant];
}

function choose(ledger: Ledger, job: Job, node: NodeName, at: number): Choice | undefined {
  const { pending, batches } = job;
  const isFor = (batch: number): boolean => job.avoided.size === 0 || !isAvoided(ledger, job, batch, node, at);
  const head = pending.first();
  const first = head === undefined || isFor(head) ? head : pending.find(isFor);
  if (first === undefined) return undefined;
  const mood = moodOf(ledger, job);
  const isInTurn = first === job.cursor || isWindowNarrow(ledger);
  const long = isInTurn ? undefined : longOne(job, mood, isFor);
  if (long) return long;
  if (batches.state(first) !== 'uncut') return { batch: first, skipped: 0, files: 0 };
  const files = filesToCut(mood, job.fileSizes, batches.first(first), batches.files(first));
  return { batch: first, skipped: 0, files };
}

function moodOf(ledger: Ledger, job: Job): CutMood {
  const { learned, isListed, deployment } = job;
  const { batches, files, bytes } = job.batches.unleased;
  const isSuspect = job.suspicion.last !== null;
  const rest = lengthOf(learned, batches, files, bytes);
  const begun = lengthOf(learned, 0, job.files - files, job.inputBytes - bytes);
  return { settings: deployment.settings, learned, rest, begun, slots: slotsOf(ledger, job), isListed, isSuspect };
}

/** The longest mini-batch, or the largest file of a run, when it is long. */
function longOne(job: Job, mood: CutMood, isFor: (batch: number) => boolean): Choice | undefined {
  const { pending, batches, learned } = job;
  const { unleased } = batches;
  const share = mood.rest / mood.slots / limits.longShare;
  const batch = pending.longest(learned);
  const length = batch === undefined ? 0 : lengthOf(learned, 1, batches.files(batch), batches.bytesOf(batch));
  const isLong = length > share || length > (limits.outlierMeans * mood.rest) / unleased.batches;
  const own = batch !== undefined && isLong && isFor(batch) ? { batch, skipped: 0, files: 0 } : undefined;
  const file = pending.largestFile();
  const run = file === undefined ? undefined : pending.runOf(file);
  if (file === undefined || run === undefined) return own;
  const fileLength = lengthOf(learned, 1, 1, job.fileSizes.bytes(file));
  // Small files would go together: one that is short is none to be alone.
  const isWhole = learned.rates === null || fileLength > targetSeconds(mood) / 2;
  const isOutlier = isWhole && fileLength > (limits.outlierMeans * mood.rest) / unleased.files;
  if ((fileLength <= share && !isOutlier) || (own && length >= fileLength)) return own;
  return { batch: run, skipped: file - batches.first(run), files: 1 };
}

/** Slots that may work on the job at once, as far as caps and the nodes that are there tell. */
export function slotsOf(ledger: Ledger, job: Job): number {
  const { nodes, slots } = ledger.ready;
  const { instanceCountMax, concurrencyPerInstanceMax } = job.deployment.settings;
  const nodesMax = Math.min(nodes, instanceCountMax ?? nodes);
  const perNode = Math.min(slots / Math.max(1, nodes), concurrencyPerInstanceMax ?? slots);
  return Math.max(1, nodesMax * perNode);
}

function isAvoided(ledger: Ledger, job: Job, batch: number, name: NodeName, at: number): boolean {
  const avoided = job.avoided.get(batch);
  if (avoided?.node !== name || at >= avoided.until) return false;
  for (const node of ledger.nodes.values()) {
    if (node.name !== name && isAtWork(node) && isAllowed(ledger, job, node)) return true;
  }
  return false;
}

/** @source Azure ML batch: instance_count is a cap on the nodes of a job */
export function isAllowed(ledger: Ledger, job: Job, node: Node): boolean {
  if (job.sick.has(node.name) || !isOneOf(ledger, job.origin, node)) return false;
  const cap = job.deployment.settings.instanceCountMax;
  return cap === null || job.nodes.has(node.name) || job.nodes.size < cap;
}
