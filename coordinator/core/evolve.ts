/**
 * Writes the ledger: the only function that does. Live and on replay the same events give the same ledger, except for
 * leases and connections, which `EpochBegan` clears.
 */
import { unreachable } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Event, EventOf } from './events.ts';
import { countUp } from './counts.ts';
import {
  batchReady,
  endLease,
  granted,
  makePending,
  recalled,
  refreshRunnable,
  released,
  split,
  started,
} from './evolve-lease.ts';
import { addBatches, addUncut, cut, keepLearned, recall } from './evolve-plan.ts';
import { jobLabelled, jobPaused, jobPruned, jobReopened, recut } from './evolve-life.ts';
import { grantsHeld, nodeUnknown } from './evolve-known.ts';
import {
  nodeConnected,
  nodeDisconnected,
  nodeHeard,
  nodeJoined,
  nodeOrdered,
  nodePrepares,
  setCredit,
  setNodeState,
} from './evolve-node.ts';
import {
  appended,
  attemptFailed,
  addTaken,
  committed,
  copyStarted,
  moveCursor,
  placed,
  quarantined,
  schemaFixed,
  sealed,
} from './evolve-output.ts';
import { quarantineNode } from './sick-nodes.ts';
import { jobOf, leaseOf, nodeOf, type Job, type Ledger } from './ledger.ts';
import { addJob, newJob } from './new-job.ts';
import { nodeKey } from './resources.ts';
import type { FreshStretch } from './plan.ts';
import { isTakenStretch } from './since.ts';

export function evolve(ledger: Ledger, event: Event): void {
  switch (event.kind) {
    case 'EpochBegan':
      ledger.tellsNodes = event.tellsNodes ?? false;
      return beginEpoch(ledger, event.epoch);
    case 'NodeKnown':
      ledger.known.add(event.node);
      return;
    case 'NodeUnknown':
      return nodeUnknown(ledger, event);
    case 'JobSubmitted':
      return submitted(ledger, event);
    case 'PageListed':
      return pageListed(ledger, event);
    case 'ListingEnded':
      return listingEnded(ledger, event);
    case 'Cut':
      return cut(jobOf(ledger, event.job), event);
    case 'JobStateChanged':
      return stateChanged(ledger, event);
    case 'JobSealed':
      return sealed(ledger, jobOf(ledger, event.job), event.keepsStaging === true);
    case 'JobPaused':
      return jobPaused(ledger, event);
    case 'JobReopened':
      return jobReopened(ledger, event);
    case 'Recut':
      return recut(ledger, event);
    case 'JobPruned':
      return jobPruned(ledger, event);
    case 'JobLabelled':
      return jobLabelled(ledger, event);
    case 'ResourcePut':
      ledger.registry.put(event.resource);
      return event.resource.kind === 'node' ? nodeOrdered(ledger, event.resource.name) : undefined;
    case 'ResourceRemoved':
      ledger.registry.remove(event.key);
      return event.key.startsWith(nodeKey('')) ? nodeOrdered(ledger, event.key.slice(nodeKey('').length)) : undefined;
    case 'SchemaSeen':
      jobOf(ledger, event.job).schemas.push(event.schema);
      return;
    case 'SchemaFixed':
      return schemaFixed(jobOf(ledger, event.job), event.schema);
    case 'Committed':
      return committed(ledger, event);
    case 'Appended':
      return appended(ledger, jobOf(ledger, event.job), event);
    case 'AttemptFailed':
      return attemptFailed(ledger, event);
    case 'Split':
      return split(ledger, event);
    case 'Quarantined':
      return quarantined(ledger, event);
    case 'NodeQuarantined':
      return quarantineNode(jobOf(ledger, event.job), event);
    case 'NodeReleased':
      jobOf(ledger, event.job).sick.delete(event.node);
      return;
    case 'LeaseGranted':
    case 'LeaseAdopted':
      return granted(ledger, event);
    case 'LeaseReleased':
      return released(ledger, event);
    case 'AttemptsStarted':
      return started(ledger, event);
    case 'LeaseRecalled':
      return recalled(ledger, event);
    case 'StillnessNoted':
      jobOf(ledger, event.job).stillness = event.stillness;
      return;
    case 'BatchReady':
      return batchReady(ledger, event);
    case 'UploadSegmentGiven':
      leaseOf(ledger, event.token.counter).uploadSegment = event.segment;
      jobOf(ledger, event.job).stagingSegment = event.segment;
      jobOf(ledger, event.job).stagingEnd = Number.POSITIVE_INFINITY;
      return;
    case 'ResultPlaced':
      return placed(ledger, event);
    case 'CopyStarted':
      return copyStarted(jobOf(ledger, event.job), event);
    case 'HostFailed':
      jobOf(ledger, event.job).initFailures += 1;
      countUp(jobOf(ledger, event.job).initFailuresOf, event.node);
      return;
    case 'Stalled':
      return stalled(ledger, event);
    case 'RoomChanged':
      return roomChanged(ledger, event);
    case 'TimeStalled':
      ledger.stallMs += event.byMs;
      return;
    case 'GrantsHeld':
      return grantsHeld(ledger, event);
    case 'NodeJoined':
      return nodeJoined(ledger, event);
    case 'NodeConnected':
      return nodeConnected(ledger, event);
    case 'NodeDisconnected':
      return nodeDisconnected(ledger, event);
    case 'NodePrepares':
      return nodePrepares(ledger, event);
    case 'NodeHeard':
      return nodeHeard(ledger, event);
    case 'NodeSuspected':
      return setNodeState(ledger, event.node, 'suspect');
    case 'NodeLost':
      return setNodeState(ledger, event.node, 'lost');
    case 'NodeDraining':
      return setNodeState(ledger, event.node, 'draining');
    case 'NodeGone':
      return setNodeState(ledger, event.node, 'gone');
    case 'NodeForgotten':
      ledger.nodes.delete(event.node);
      return;
    case 'Wanted':
      return setCredit(ledger, event.node, nodeOf(ledger, event.node).credit + event.leases);
    case 'ResultRefused':
    case 'CommitRepeated':
    case 'LeaseDisowned':
      return;
    default:
      return unreachable(event);
  }
}

/** Leases, places and connections of the process before are gone; what it had not committed is to be done again. */
function beginEpoch(ledger: Ledger, epoch: number): void {
  ledger.epoch = epoch;
  ledger.grants = 0;
  ledger.leases.clear();
  ledger.nodes.clear();
  ledger.ready = { nodes: 0, slots: 0 };
  ledger.heldBy.clear();
  ledger.computeNodes.clear();
  ledger.hungry.clear();
  ledger.awaited = new Set();
  ledger.placingBytes = 0;
  ledger.shortage = null;
  for (const job of ledger.jobs.values()) {
    job.leased = 0;
    job.nodes.clear();
    job.placing.clear();
    job.holders.clear();
    job.avoided.clear();
    job.copy = null;
    job.stall = null;
    job.shortage = null;
    job.stillness = null;
    job.outputEnd = job.outputCommitted;
    job.stagingEnd = Number.POSITIVE_INFINITY;
    // Whoever led before and sleeps may have given away numbers that nobody knows of, and opens or removes those files when it wakes up.
    const before = Math.min(epoch, limits.segmentEpochsMax) * limits.segmentsPerEpoch;
    job.stagingSegment = Math.max(job.stagingSegment, before);
    if (isFinal(job.state)) continue;
    for (let batch = 0; batch < job.batches.count; batch += 1) {
      const state = job.batches.state(batch);
      if (state === 'leased' || state === 'waiting') makePending(ledger, job, batch);
    }
    job.waiting.clear();
    refreshRunnable(ledger, job);
  }
}

function submitted(ledger: Ledger, event: EventOf<'JobSubmitted'>): void {
  ledger.submissions += 1;
  const job = newJob(event, ledger.submissions);
  // Of one whose outer job was paused when its last rows came, nothing is granted either.
  const outer = job.rowsOf === null ? undefined : ledger.jobs.get(job.rowsOf);
  job.isPaused = outer?.isPaused === true;
  job.learned = recall(ledger, job.deployment);
  addJob(ledger, job);
}

function pageListed(ledger: Ledger, event: EventOf<'PageListed'>): void {
  const job = jobOf(ledger, event.job);
  job.chunks = event.chunk + 1;
  job.files += event.files;
  job.inputBytes += event.bytes;
  job.openCut = event.open;
  for (const stretch of event.stretches ?? [event as FreshStretch]) {
    if (isTakenStretch(stretch)) addTaken(job, stretch);
    else addFresh(job, stretch);
  }
  moveCursor(job);
  ledger.loads.note(job);
  refreshRunnable(ledger, job);
}

function addFresh(job: Job, { sizes, sizesBytes, fileBytes }: FreshStretch): void {
  addBatches(job, sizes, sizesBytes);
  if (fileBytes) addUncut(job, fileBytes);
}

function listingEnded(ledger: Ledger, event: EventOf<'ListingEnded'>): void {
  const job = jobOf(ledger, event.job);
  job.isListed = true;
  job.skipped = event.skipped;
  job.skippedBy = event.skippedBy ?? null;
  job.split = event.split ?? null;
  job.openCut = { files: 0, bytes: 0 };
  addBatches(job, event.sizes, event.sizesBytes);
  ledger.loads.note(job);
  refreshRunnable(ledger, job);
}

function stateChanged(ledger: Ledger, event: EventOf<'JobStateChanged'>): void {
  const job = jobOf(ledger, event.job);
  job.state = event.state;
  if (event.error) job.error = event.error;
  job.cancelUntilWallMs = event.untilWallMs ?? null;
  if (event.state === 'Running' && job.startedWallMs === null) job.startedWallMs = event.wallMs;
  if (isFinal(event.state)) {
    job.endedWallMs = event.wallMs;
    keepLearned(ledger, job);
    for (const lease of ledger.leases.values()) {
      if (lease.job === job.name) endLease(ledger, job, lease.token.counter, lease.token.epoch);
    }
    job.waiting.clear();
    job.avoided.clear();
    job.health.clear();
    job.sick.clear();
    job.copy = null;
    for (const node of ledger.nodes.values()) node.preparations.delete(job.name);
  }
  ledger.loads.note(job);
  refreshRunnable(ledger, job);
}

function stalled(ledger: Ledger, event: EventOf<'Stalled'>): void {
  if (event.job === null) ledger.stall = event.failure;
  else jobOf(ledger, event.job).stall = event.failure;
  for (const job of ledger.jobs.values()) refreshRunnable(ledger, job);
}

function roomChanged(ledger: Ledger, event: EventOf<'RoomChanged'>): void {
  if (event.job === null) ledger.shortage = event.failure;
  else jobOf(ledger, event.job).shortage = event.failure;
  for (const job of ledger.jobs.values()) refreshRunnable(ledger, job);
}
