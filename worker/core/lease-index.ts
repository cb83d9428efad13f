/**
 * The indexes of leases by state, kept true as leases change: a part of `evolve`, which alone may call what writes here.
 */
import type { JobName } from '../../common/core/ids.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import type { HeldResult, Job, Lease, LeaseState, WorkerState } from './state.ts';

/** Moves a lease to `next` and keeps the indexes true. */
export function enter(state: WorkerState, lease: Lease, next: LeaseState): void {
  unindex(state, lease);
  lease.state = next;
  index(state, lease);
}

/** Adds a lease to the indexes of its state. */
export function index(state: WorkerState, lease: Lease): void {
  const { work } = lease;
  switch (lease.state.kind) {
    case 'ready': {
      const job = jobOf(state, lease.job);
      insertReady(state, job, lease);
      state.ready += 1;
      job.unstarted += 1;
      return;
    }
    case 'granted':
    case 'staging':
      jobOf(state, lease.job).unstarted += 1;
      state[lease.state.kind].add(work);
      return;
    case 'scored':
      state.scored.add(work);
      hold(state, heldBytes(lease.state.result), 1);
      if (lease.state.upload.kind === 'wanted' || lease.state.upload.kind === 'underway') state.uploads.add(work);
      return;
    case 'running':
    case 'queued':
    case 'failed':
      state[lease.state.kind].add(work);
      return;
  }
}

/** Takes a lease out of the indexes of its state. */
export function unindex(state: WorkerState, lease: Lease): void {
  const { work } = lease;
  switch (lease.state.kind) {
    case 'ready': {
      const job = jobOf(state, lease.job);
      job.ready.splice(job.ready.indexOf(work), 1);
      state.ready -= 1;
      job.unstarted -= 1;
      return;
    }
    case 'granted':
    case 'staging':
      jobOf(state, lease.job).unstarted -= 1;
      state[lease.state.kind].delete(work);
      return;
    case 'scored':
      state.scored.delete(work);
      hold(state, heldBytes(lease.state.result), -1);
      state.uploads.delete(work);
      return;
    case 'running':
    case 'queued':
    case 'failed':
      state[lease.state.kind].delete(work);
      return;
  }
}

/** Keeps `job.ready` in the order of the input. Grants mostly come in that order, so the search starts at the end. */
function insertReady(state: WorkerState, job: Job, lease: Lease): void {
  let place = job.ready.length;
  while (place > 0 && leaseOf(state, job.ready[place - 1] as number).first > lease.first) place -= 1;
  job.ready.splice(place, 0, lease.work);
}

/** The lease of a work that is held. */
export function leaseOf(state: WorkerState, work: number): Lease {
  const lease = state.leases.get(work);
  invariant(lease !== undefined, `work ${work} is not held`);
  return lease;
}

export type GivenLease = Lease & { readonly state: Extract<Lease['state'], { kind: 'running' | 'queued' }> };

/** The lease that this host on this slot has been given, if word of it still means anything. */
export function givenLease(state: WorkerState, slot: number, host: number, work: number): GivenLease | undefined {
  const lease = state.leases.get(work);
  const held = state.slots[slot];
  if (lease?.state.kind !== 'running' && lease?.state.kind !== 'queued') return undefined;
  return lease.state.slot === slot && held?.kind === 'running' && held.host === host
    ? (lease as GivenLease)
    : undefined;
}

/** The job of that name, which is known. */
export function jobOf(state: WorkerState, name: JobName): Job {
  const job = state.jobs.get(name);
  invariant(job !== undefined, `job ${name} is not known`);
  return job;
}

function hold(state: WorkerState, bytes: number, sign: 1 | -1): void {
  state.heldResultBytes += sign * bytes;
  if (bytes <= limits.spoolMemoryBytesMax) state.heldMemoryBytes += sign * bytes;
}

/** Rows and custom files wait for their commit together. */
function heldBytes({ bytes, customBytes }: HeldResult): number {
  return bytes + customBytes;
}
