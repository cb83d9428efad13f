/**
 * What becomes of a mini-batch whose attempt failed: tried again as it is, bisected, or quarantined.
 * @source Azure ML batch for the count of tries; bisection is ours
 */
import type { Failure } from '../../common/core/batch-error.ts';
import { noCircumstances, type Circumstances } from '../../common/core/cluster-messages.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import type { Event, FailureKind } from './events.ts';
import { failureKind, isOfNode } from './failure-kind.ts';
import { jobOf, type Job, type Ledger, type Lease } from './ledger.ts';
import { isSuspect, sickNodeEvents } from './sick-nodes.ts';

/** `at`: attended milliseconds. `fileIndex`: the file that was open last within the mini-batch, −1 when unknown. */
export function failureEvents(
  ledger: Ledger,
  lease: Lease,
  failure: Failure,
  fileIndex: number,
  at: number,
  circumstances: Circumstances = noCircumstances,
): readonly Event[] {
  const job = jobOf(ledger, lease.job);
  const cause = failureKind(failure.code);
  const ofNode = isOfNode(cause, failure.code);
  // On a node under suspicion nothing uses up a try; but what needs a node for itself is known to from the first time on.
  const isTelling = cause !== 'memory' || lease.isAlone;
  const kind = ofNode && isTelling && isSuspect(ledger, job, lease.node, lease.batch, at) ? 'lost' : cause;
  const quarantine = ofNode ? sickNodeEvents(ledger, job, lease, failure) : [];
  // Another attempt at it lives: this one counts, and what follows is the other's to decide.
  const isDouble = (job.holders.get(lease.batch)?.length ?? 0) > 1;
  const verdict: Verdict =
    isDouble || quarantine.length > 0
      ? { kind: 'retry', waitMs: 0 }
      : judge(job, lease, kind, fileIndex, failure.code === 'NODE_LOST');
  const failed: Event = {
    kind: 'AttemptFailed',
    job: lease.job,
    batch: lease.batch,
    token: lease.token,
    node: lease.node,
    failureKind: kind,
    failure: bounded(failure),
    fileIndex,
    readyAt: at + (verdict.kind === 'retry' ? verdict.waitMs : 0),
    circumstances,
  };
  switch (verdict.kind) {
    case 'retry':
      return [failed, ...quarantine];
    case 'split':
      return [failed, { kind: 'Split', job: lease.job, batch: lease.batch, sizes: verdict.sizes }];
    case 'quarantine':
      return [
        failed,
        {
          kind: 'Quarantined',
          job: lease.job,
          batch: lease.batch,
          failure: bounded(failure),
          node: lease.node,
          circumstances,
        },
      ];
  }
}

/**
 * A committed result whose rows turn out, when they have their turn, not to have the job's columns: it is taken back.
 * Its scorer would say the same again, so it is not tried again as it is, unless rows are widened.
 */
export function withdrawalEvents(job: Job, batch: number, failure: Failure): readonly Event[] {
  const { batches, nodeNames, name } = job;
  const node = nodeNames[batches.node(batch)];
  invariant(node !== undefined, `mini-batch ${batch} was committed by nobody`);
  const files = batches.files(batch);
  const { isolation, outputForm, triesMax } = job.deployment.settings;
  const isWhole = files === 1 || isolation === 'mini_batch';
  // Scored again, now that the columns are fixed, it is told them.
  const isTold = (outputForm?.evolves ?? false) && batches.failures(batch) + 1 < triesMax;
  const failed: readonly Event[] = [
    {
      kind: 'AttemptFailed',
      job: name,
      batch,
      token: batches.token(batch),
      node,
      failureKind: 'error',
      failure: bounded(failure),
      fileIndex: -1,
      readyAt: 0,
    },
  ];
  if (isTold) return failed;
  return [
    ...failed,
    isWhole
      ? { kind: 'Quarantined', job: name, batch, failure: bounded(failure), node }
      : { kind: 'Split', job: name, batch, sizes: splitSizes(files, -1) },
  ];
}

type Verdict =
  | { readonly kind: 'retry'; readonly waitMs: number }
  | { readonly kind: 'split'; readonly sizes: readonly number[] }
  | { readonly kind: 'quarantine' };

/** Counters are those before this failure. */
function judge(
  job: Job,
  { batch, isAlone }: Lease,
  kind: FailureKind,
  fileIndex: number,
  isNodeLost: boolean,
): Verdict {
  const { triesMax, isolation } = job.deployment.settings;
  const files = job.batches.files(batch);
  const tries = job.batches.failures(batch) + (kind === 'lost' ? 0 : 1);
  const lost = job.batches.lostLeases(batch) + 1;
  // A node that lives and has trouble of its own (a full disk) would fail the next try at once as well.
  if (kind === 'lost' && lost < limits.lostLeasesMax)
    return { kind: 'retry', waitMs: isNodeLost ? 0 : backoffMs(lost) };
  const again: Verdict = { kind: 'retry', waitMs: backoffMs(tries) };
  // Its neighbours on the node may have had the memory, which is no fault of its own: once more, without them.
  if (kind === 'memory' && !isAlone) return again;
  if (isolation === 'mini_batch' || files === 1) {
    return tries >= triesMax || kind === 'lost' ? { kind: 'quarantine' } : again;
  }
  // A first crash of several files may be the node's fault; anything else is in one of the files.
  if (kind === 'crash' && job.batches.crashes(batch) === 0) return again;
  return { kind: 'split', sizes: splitSizes(files, fileIndex) };
}

function backoffMs(tries: number): number {
  return Math.min(limits.retryBackoffMsMax, limits.retryBackoffMs * 2 ** Math.max(0, tries - 1));
}

/**
 * The suspect by itself when there is one, halves otherwise. The last file is no suspect: a script that opens all files
 * before it scores any, or that fails when it has scored them all, has it open last whichever is to blame.
 */
export function splitSizes(files: number, suspect: number): readonly number[] {
  if (suspect < 0 || suspect >= files - 1) {
    const half = Math.ceil(files / 2);
    return [half, files - half];
  }
  return [suspect, 1, files - suspect - 1].filter((size) => size > 0);
}

/** Journal and errors file keep what a person reads, not a script's whole output. */
export function bounded(failure: Failure): Failure {
  const cut = (text: string): string =>
    text.length <= limits.failureMessageCharsMax ? text : `${text.slice(0, limits.failureMessageCharsMax)}…`;
  return { code: failure.code, message: cut(failure.message), detail: cut(failure.detail) };
}
