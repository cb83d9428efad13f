/**
 * Writes the ledger: the only function that does. Live and on replay the same events give the same ledger, except for
 * leases and connections, which `EpochBegan` clears.
 */
import { invariant, unreachable } from '../../common/core/invariant.ts';
import type { JobName, NodeName } from '../../common/core/ids.ts';
import { isFinal } from '../../common/core/states.ts';
import { noBatch, noPlace, outputSegment } from './batch-table.ts';
import type { Event } from './events.ts';
import { newJob, unknownRows, type Job, type Ledger, type Lease, type Node, type NodeState } from './ledger.ts';

type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;

export function evolve(ledger: Ledger, event: Event): void {
  switch (event.kind) {
    case 'EpochBegan':
      return beginEpoch(ledger, event.epoch);
    case 'JobSubmitted':
      ledger.jobs.set(event.job, newJob(event));
      return;
    case 'PageListed':
      return pageListed(ledger, event);
    case 'ListingEnded':
      return listingEnded(ledger, event);
    case 'JobStateChanged':
      return stateChanged(ledger, event);
    case 'JobSealed':
      jobOf(ledger, event.job).isSealed = true;
      return;
    case 'SchemaSeen':
      jobOf(ledger, event.job).schemas.push(event.schema);
      return;
    case 'SchemaFixed':
      return schemaFixed(jobOf(ledger, event.job), event.schema);
    case 'Committed':
      return committed(ledger, event);
    case 'Appended':
      return appended(jobOf(ledger, event.job), event);
    case 'AttemptFailed':
      return attemptFailed(ledger, event);
    case 'Split':
      return split(ledger, event);
    case 'Quarantined':
      return quarantined(ledger, event);
    case 'LeaseGranted':
    case 'LeaseAdopted':
      return granted(ledger, event);
    case 'LeaseReleased':
      return released(ledger, event);
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
      return;
    case 'Stalled':
      return stalled(ledger, event);
    case 'TimeStalled':
      ledger.stallMs += event.byMs;
      return;
    case 'GrantsHeld':
      ledger.grantFrom = event.until;
      return;
    case 'NodeJoined':
      return nodeJoined(ledger, event);
    case 'NodeConnected':
      return nodeConnected(ledger, event);
    case 'NodeDisconnected':
      nodeOf(ledger, event.node).isConnected = false;
      nodeOf(ledger, event.node).heardAt = event.at;
      return setCredit(ledger, event.node, 0);
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

export function jobOf(ledger: Ledger, name: JobName): Job {
  const job = ledger.jobs.get(name);
  invariant(job !== undefined, `no job ${name} in the ledger`);
  return job;
}

export function nodeOf(ledger: Ledger, name: NodeName): Node {
  const node = ledger.nodes.get(name);
  invariant(node !== undefined, `no worker node ${name} in the ledger`);
  return node;
}

function leaseOf(ledger: Ledger, counter: number): Lease {
  const lease = ledger.leases.get(counter);
  invariant(lease !== undefined, `no lease ${ledger.epoch}.${counter} in the ledger`);
  return lease;
}

// ---- jobs ----

/** Leases, places and connections of the process before are gone; what it had not committed is to be done again. */
function beginEpoch(ledger: Ledger, epoch: number): void {
  ledger.epoch = epoch;
  ledger.grants = 0;
  ledger.leases.clear();
  ledger.nodes.clear();
  ledger.hungry.clear();
  for (const job of ledger.jobs.values()) {
    job.leased = 0;
    job.nodes.clear();
    job.placing.clear();
    job.copy = null;
    job.stall = null;
    job.outputEnd = job.outputCommitted;
    job.stagingEnd = Number.POSITIVE_INFINITY;
    if (isFinal(job.state)) continue;
    for (let batch = 0; batch < job.batches.count; batch += 1) {
      const state = job.batches.state(batch);
      if (state === 'leased' || state === 'waiting') makePending(ledger, job, batch);
    }
    job.waiting.clear();
    refreshRunnable(ledger, job);
  }
}

function addBatches(ledger: Ledger, job: Job, sizes: readonly number[]): void {
  for (const count of sizes) {
    const batch = job.batches.append({ first: job.planned, count });
    job.planned += count;
    job.open += 1;
    job.total += 1;
    job.pending.push(batch);
    if (job.cursor === noBatch) job.cursor = batch;
  }
  refreshRunnable(ledger, job);
}

function pageListed(ledger: Ledger, event: EventOf<'PageListed'>): void {
  const job = jobOf(ledger, event.job);
  job.chunks = event.chunk + 1;
  job.files += event.files;
  job.inputBytes += event.bytes;
  job.openCut = event.open;
  addBatches(ledger, job, event.sizes);
}

function listingEnded(ledger: Ledger, event: EventOf<'ListingEnded'>): void {
  const job = jobOf(ledger, event.job);
  job.isListed = true;
  job.skipped = event.skipped;
  job.openCut = { files: 0, bytes: 0 };
  addBatches(ledger, job, event.sizes);
}

function stateChanged(ledger: Ledger, event: EventOf<'JobStateChanged'>): void {
  const job = jobOf(ledger, event.job);
  job.state = event.state;
  if (event.error) job.error = event.error;
  if (event.state === 'Running' && job.startedWallMs === null) job.startedWallMs = event.wallMs;
  if (isFinal(event.state)) {
    job.endedWallMs = event.wallMs;
    for (const lease of ledger.leases.values()) {
      if (lease.job === job.name) endLease(ledger, job, lease.token.counter, lease.token.epoch);
    }
    job.waiting.clear();
    job.copy = null;
  }
  refreshRunnable(ledger, job);
}

function stalled(ledger: Ledger, event: EventOf<'Stalled'>): void {
  for (const job of event.job === null ? ledger.jobs.values() : [jobOf(ledger, event.job)]) {
    job.stall = event.failure;
    refreshRunnable(ledger, job);
  }
}

/** A job may be leased from while it lists or runs, has something pending and a place to put results. */
function refreshRunnable(ledger: Ledger, job: Job): void {
  const isOpen = job.state === 'Preparing' || job.state === 'Running';
  if (isOpen && !job.pending.isEmpty && job.stall === null) ledger.runnable.add(job.name);
  else ledger.runnable.delete(job.name);
}

// ---- mini-batches ----

function makePending(ledger: Ledger, job: Job, batch: number): void {
  job.batches.setState(batch, 'pending');
  job.pending.push(batch);
  refreshRunnable(ledger, job);
}

function granted(ledger: Ledger, event: EventOf<'LeaseGranted'> | EventOf<'LeaseAdopted'>): void {
  const job = jobOf(ledger, event.job);
  const { token, batch } = event;
  job.waiting.delete(batch);
  job.batches.setState(batch, 'leased');
  job.leased += 1;
  ledger.grants = Math.max(ledger.grants, token.counter);
  ledger.leases.set(token.counter, {
    token,
    job: event.job,
    batch,
    node: event.node,
    grantedAt: event.at,
    placed: null,
    uploadSegment: null,
  });
  countUp(job.nodes, event.node);
  const node = ledger.nodes.get(event.node);
  node?.leases.add(token.counter);
  if (event.kind === 'LeaseGranted') setCredit(ledger, event.node, nodeOf(ledger, event.node).credit - 1);
  refreshRunnable(ledger, job);
}

/** Takes the lease away, whatever becomes of its mini-batch. Absent on replay, where leases do not exist. */
function endLease(ledger: Ledger, job: Job, counter: number, epoch: number): void {
  const lease = epoch === ledger.epoch ? ledger.leases.get(counter) : undefined;
  if (!lease) return;
  ledger.leases.delete(counter);
  if (lease.placed) countDown(job.placing, lease.placed.place.segment);
  ledger.nodes.get(lease.node)?.leases.delete(counter);
  job.leased -= 1;
  countDown(job.nodes, lease.node);
}

function countUp<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** What is counted down to nothing is not there any more. */
function countDown<K>(counts: Map<K, number>, key: K): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}

function released(ledger: Ledger, event: EventOf<'LeaseReleased'>): void {
  const job = jobOf(ledger, event.job);
  endLease(ledger, job, event.token.counter, event.token.epoch);
  makePending(ledger, job, event.batch);
}

function batchReady(ledger: Ledger, event: EventOf<'BatchReady'>): void {
  const job = jobOf(ledger, event.job);
  job.waiting.delete(event.batch);
  makePending(ledger, job, event.batch);
}

function attemptFailed(ledger: Ledger, event: EventOf<'AttemptFailed'>): void {
  const job = jobOf(ledger, event.job);
  endLease(ledger, job, event.token.counter, event.token.epoch);
  if (job.batches.state(event.batch) === 'committed') withdraw(job, event.batch);
  job.failedTries += 1;
  job.batches.addFailure(event.batch, event.failureKind);
  job.batches.setState(event.batch, 'waiting');
  job.waiting.set(event.batch, event.readyAt);
  refreshRunnable(ledger, job);
}

function split(ledger: Ledger, event: EventOf<'Split'>): void {
  const job = jobOf(ledger, event.job);
  job.waiting.delete(event.batch);
  const children = job.batches.split(event.batch, event.sizes);
  if (job.cursor === event.batch) job.cursor = children[0] as number;
  job.open += children.length - 1;
  job.total += children.length - 1;
  for (const child of children) job.pending.push(child);
  refreshRunnable(ledger, job);
}

function quarantined(ledger: Ledger, event: EventOf<'Quarantined'>): void {
  const job = jobOf(ledger, event.job);
  const { batch } = event;
  job.waiting.delete(batch);
  const count = job.batches.files(batch);
  job.open -= 1;
  job.batches.setState(batch, 'quarantined');
  job.failedFiles += count;
  job.failures.push({
    first: job.batches.first(batch),
    count,
    failure: event.failure,
    node: event.node,
    tries: job.batches.failures(batch),
  });
  moveCursor(job);
  refreshRunnable(ledger, job);
}

/** Takes back what `committed` has counted, of a result whose rows are not in the output. */
function withdraw(job: Job, batch: number): void {
  const { batches, failures } = job;
  const [first, count, rows] = [batches.first(batch), batches.files(batch), batches.rows(batch)];
  const own = failures.filter((failure) => failure.first >= first && failure.first < first + count);
  // A failure of the whole mini-batch stands for the rows that were missing.
  const failed = own.some((failure) => failure.count === count) ? Math.max(own.length, count - rows) : own.length;
  failures.splice(0, failures.length, ...failures.filter((failure) => !own.includes(failure)));
  job.fileRows.fill(unknownRows, first, first + count);
  job.failedFiles -= failed;
  job.scoredFiles -= count - failed;
  job.rows -= rows;
  job.committed -= 1;
  job.open += 1;
  countDown(job.segments, batches.place(batch).segment);
  batches.setPlace(batch, noPlace);
}

// ---- results and output ----

function schemaFixed(job: Job, schema: number): void {
  job.schema = schema;
  const prologue = job.schemas[schema]?.prologue ?? '';
  const length = utf8Length(prologue);
  job.outputEnd += length;
  job.outputCommitted += length;
}

/** Bytes of `text` in UTF-8; pure TypeScript, because this file has no platform. */
export function utf8Length(text: string): number {
  let length = 0;
  for (const symbol of text) {
    const point = symbol.codePointAt(0) as number;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
  }
  return length;
}

function placed(ledger: Ledger, event: EventOf<'ResultPlaced'>): void {
  const job = jobOf(ledger, event.job);
  const lease = leaseOf(ledger, event.token.counter);
  const { place } = event.placed;
  lease.placed = event.placed;
  job.batches.setState(lease.batch, 'placed');
  if (place.segment === outputSegment) {
    job.outputEnd = place.offset + place.length;
    moveCursorPast(job, lease.batch);
  } else if (place.segment > outputSegment && lease.uploadSegment === null) {
    job.stagingSegment = place.segment;
    job.stagingEnd = place.offset + place.length;
  }
  if (place.segment > outputSegment) countUp(job.placing, place.segment);
}

function committed(ledger: Ledger, event: EventOf<'Committed'>): void {
  const job = jobOf(ledger, event.job);
  const { batch, place } = event;
  job.waiting.delete(batch);
  endLease(ledger, job, event.token.counter, event.token.epoch);
  job.batches.setPlace(batch, place);
  job.batches.setCommit(batch, {
    rows: event.rows,
    schema: event.schema,
    token: event.token,
    node: nodeNumber(job, event.node),
  });
  job.batches.setState(batch, 'committed');
  // Files that no host has seen say nothing about the scorer.
  if (event.failed.length < job.batches.files(batch)) job.isInitialised = true;
  recordFiles(job, event);
  job.open -= 1;
  job.committed += 1;
  job.rows += event.rows;
  if (place.segment === outputSegment) {
    job.outputCommitted = place.offset + place.length;
    job.outputEnd = Math.max(job.outputEnd, job.outputCommitted);
    if (job.cursor === batch) moveCursorPast(job, batch);
  } else if (place.segment > outputSegment) {
    countUp(job.segments, place.segment);
    job.stagingSegment = Math.max(job.stagingSegment, place.segment);
  }
  moveCursor(job);
  refreshRunnable(ledger, job);
}

function nodeNumber(job: Job, node: NodeName): number {
  const known = job.nodeNames.indexOf(node);
  return known >= 0 ? known : job.nodeNames.push(node) - 1;
}

function recordFiles(job: Job, event: EventOf<'Committed'>): void {
  const first = job.batches.first(event.batch);
  const count = job.batches.files(event.batch);
  if (event.fileRows) {
    growFileRows(job, first + count);
    job.fileRows.set(event.fileRows, first);
  }
  for (const { index, failure } of event.failed) {
    job.failures.push({ first: first + index, count: 1, failure, node: event.node, tries: 1 });
  }
  if (event.missing > 0) {
    const message = `the mini-batch has ${count} files and returned ${event.rows} rows`;
    const failure = { code: 'SCORER_OUTPUT_INVALID', message, detail: '' } as const;
    job.failures.push({ first, count, failure, node: event.node, tries: 1 });
  }
  const failed = event.failed.length + event.missing;
  job.failedFiles += failed;
  job.scoredFiles += count - failed;
}

function growFileRows(job: Job, files: number): void {
  if (files <= job.fileRows.length) return;
  const grown = new Uint32Array(Math.max(files, job.fileRows.length * 2)).fill(unknownRows);
  grown.set(job.fileRows);
  job.fileRows = grown;
}

function copyStarted(job: Job, event: EventOf<'CopyStarted'>): void {
  job.copy = event.copy;
  job.outputEnd = event.copy.toOffset + event.copy.length;
  const last = event.copy.batches.at(-1);
  invariant(last !== undefined, 'a copy moves at least one mini-batch');
  moveCursorPast(job, last);
}

function appended(job: Job, event: EventOf<'Appended'>): void {
  let offset = event.offset;
  for (const batch of event.batches) {
    const place = job.batches.place(batch);
    if (place.segment > outputSegment) countDown(job.segments, place.segment);
    job.batches.setPlace(batch, { ...place, segment: outputSegment, offset });
    offset += place.length;
    if (job.cursor === batch) moveCursorPast(job, batch);
  }
  job.outputCommitted = offset;
  job.outputEnd = Math.max(job.outputEnd, offset);
  job.copy = null;
}

function moveCursorPast(job: Job, batch: number): void {
  job.cursor = job.batches.next(batch);
  moveCursor(job);
}

/** Skips what needs no place: quarantined, split, and committed without bytes. */
function moveCursor(job: Job): void {
  while (job.cursor !== noBatch) {
    const state = job.batches.state(job.cursor);
    const isSettled =
      state === 'split' ||
      state === 'quarantined' ||
      (state === 'committed' && job.batches.place(job.cursor).segment <= outputSegment);
    if (!isSettled) return;
    job.cursor = job.batches.next(job.cursor);
  }
}

// ---- worker nodes ----

function nodeJoined(ledger: Ledger, event: EventOf<'NodeJoined'>): void {
  const known = ledger.nodes.get(event.node);
  if (known?.incarnation === event.incarnation) {
    known.heardAt = event.at;
    return;
  }
  ledger.nodes.set(event.node, {
    name: event.node,
    incarnation: event.incarnation,
    slots: event.slots,
    hostname: event.hostname,
    pid: event.pid,
    joinedWallMs: event.wallMs,
    state: 'ready',
    isConnected: false,
    credit: 0,
    heardAt: event.at,
    heartbeatGapMsMax: 0,
    lastHeartbeatAt: null,
    leases: new Set(),
  });
}

function nodeConnected(ledger: Ledger, event: EventOf<'NodeConnected'>): void {
  const node = nodeOf(ledger, event.node);
  node.isConnected = true;
  node.state = 'ready';
  node.heardAt = event.at;
  node.lastHeartbeatAt = null;
  setCredit(ledger, event.node, 0);
}

function nodeHeard(ledger: Ledger, event: EventOf<'NodeHeard'>): void {
  const node = nodeOf(ledger, event.node);
  if (node.lastHeartbeatAt !== null) {
    node.heartbeatGapMsMax = Math.max(node.heartbeatGapMsMax, event.clock - node.lastHeartbeatAt);
  }
  node.lastHeartbeatAt = event.clock;
  node.heardAt = event.at;
  if (node.state === 'suspect' || node.state === 'lost') setNodeState(ledger, node.name, 'ready');
}

/** Credit stays: a node that comes back has not forgotten what it asked for. */
function setNodeState(ledger: Ledger, name: NodeName, state: NodeState): void {
  const node = nodeOf(ledger, name);
  node.state = state;
  setCredit(ledger, name, node.credit);
}

function setCredit(ledger: Ledger, name: NodeName, credit: number): void {
  const node = nodeOf(ledger, name);
  node.credit = Math.max(0, credit);
  // Taken out and put back at the end: nodes are served in turn.
  ledger.hungry.delete(name);
  if (node.credit > 0 && node.state === 'ready' && node.isConnected) ledger.hungry.add(name);
}
