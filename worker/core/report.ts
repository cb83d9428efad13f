/** What a worker node has to say to its coordinator, as one message. Reads the state, changes nothing. */
import { invariant } from '../../common/core/invariant.ts';
import {
  emptyNodeMessage,
  type AttemptFailureReport,
  type NodeMessage,
  type ResultReport,
} from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { heldUpLine } from './held-up.ts';
import type { Lease, LinkUp, WorkerState } from './state.ts';
import { wantedLeases } from './want.ts';

/** Whether a `turn-ended` would send anything. */
export function hasReports(state: WorkerState): boolean {
  const { link, outbox } = state;
  if (link.kind !== 'up') return false;
  if (outbox.isLeaving) return true;
  // Until hello is answered the coordinator does not know the tokens that a report would name.
  if (link.offered !== null) return false;
  const { started, results, failures, hostFailures, preparations, returned } = outbox;
  const things =
    started.size + results.size + failures.size + hostFailures.length + preparations.size + returned.length;
  return things > 0 || wantedLeases(state) > 0;
}

/** Everything that waits to be said; with `heartbeat`, also that the node lives and what it holds. */
export function buildReport(state: WorkerState, heartbeat: { readonly rssBytes: number } | null): NodeMessage {
  const { link, outbox } = state;
  invariant(link.kind === 'up', `a report needs a link that is up, not ${link.kind}`);
  const alive: NodeMessage = {
    ...emptyNodeMessage,
    hello: link.isHelloSent ? null : heldLeases(state),
    heartbeat: heartbeat && buildHeartbeat(state, link, heartbeat.rssBytes),
    isLeaving: outbox.isLeaving,
  };
  const isAnswerDue = link.isHelloSent ? link.offered !== null : state.leases.size > 0;
  if (isAnswerDue) return alive;
  return {
    ...alive,
    want: wantedLeases(state),
    started: [...outbox.started].map((work) => leaseOf(state, work).token),
    results: buildResults(state),
    failures: [...outbox.failures].map((work) => buildFailure(leaseOf(state, work))),
    hostFailures: [...outbox.hostFailures],
    preparations: [...outbox.preparations].map((job) => ({
      job,
      text: state.preparations.get(job) ?? heldUpLine(state, job),
    })),
    returned: [...outbox.returned],
  };
}

function heldLeases(state: WorkerState): NonNullable<NodeMessage['hello']> {
  return [...state.leases.values()].map(({ token, job, first, files }) => ({ token, job, first, count: files.length }));
}

function buildHeartbeat(state: WorkerState, link: LinkUp, rssBytes: number): NonNullable<NodeMessage['heartbeat']> {
  // Offered leases were named in hello; until it is answered their tokens mean nothing to the coordinator.
  const leases = [...state.leases.values()].filter((lease) => link.offered?.has(lease.work) !== true);
  const held = leases.map((lease): Token => lease.token);
  return { sequence: link.heartbeats + 1, held, slotsBusy: state.running.size, rssBytes };
}

/** Results up to a bound of inline bytes, at least one; the others go with the next message. */
function buildResults(state: WorkerState): ResultReport[] {
  const reports: ResultReport[] = [];
  let inlineBytes = 0;
  for (const work of state.outbox.results) {
    const report = buildResult(leaseOf(state, work));
    inlineBytes += report.isUploaded ? 0 : report.bytes + report.customBytes;
    if (reports.length > 0 && inlineBytes > limits.reportInlineBytesMax) break;
    reports.push(report);
  }
  return reports;
}

function buildResult({ work, token, state }: Lease): ResultReport {
  invariant(state.kind === 'scored', `work ${work} is ${state.kind}, not scored`);
  return { token, ...state.result, isUploaded: state.upload.kind === 'done' };
}

function buildFailure({ work, token, state }: Lease): AttemptFailureReport {
  invariant(state.kind === 'failed', `work ${work} is ${state.kind}, not failed`);
  return { token, failure: state.failure, fileIndex: state.fileIndex, circumstances: state.circumstances };
}

function leaseOf(state: WorkerState, work: number): Lease {
  const lease = state.leases.get(work);
  invariant(lease !== undefined, `work ${work} is to be reported but not held`);
  return lease;
}
