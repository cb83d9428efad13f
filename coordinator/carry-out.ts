/** Carries out what the core has decided: each effect is one call on the side that it concerns. */
import { BatchError } from '../common/core/batch-error.ts';
import type { JobName } from '../common/core/ids.ts';
import type { Token } from '../common/core/token.ts';
import { prologueBytes } from '../common/format/prologue.ts';
import type { Effect } from './core/effects.ts';
import type { InnerJobs } from './inner-jobs.ts';
import type { JobWork } from './job-work.ts';
import type { Loop } from './loop.ts';
import type { NodeDesk } from './node-desk.ts';
import type { SegmentSink } from './output/segment-sink.ts';
import type { ResultStore } from './result-store.ts';

export interface Sides {
  readonly loop: Loop;
  readonly nodes: NodeDesk;
  readonly work: JobWork;
  readonly results: ResultStore;
  readonly inner: InnerJobs;
}

export function carryOut(sides: Sides, effect: Effect): void {
  const { loop, nodes, work, results, inner } = sides;
  switch (effect.kind) {
    case 'grant':
      return nodes.grant(effect);
    case 'adopt':
      return nodes.adopt(effect);
    case 'welcome':
      return nodes.welcome(effect);
    case 'committed':
      return nodes.tell(effect.node, { committed: [effect.token] });
    case 'refuse':
      return nodes.tell(effect.node, { refused: [{ token: effect.token, failure: effect.failure }] });
    case 'revoke':
      return nodes.tell(effect.node, { revoked: [effect.token] });
    case 'recall':
      return nodes.tell(effect.node, { recalled: [effect.token] });
    case 'end-job':
      return nodes.endJob(effect.job);
    case 'drain-node':
      return nodes.drain(effect);
    case 'drain-job':
      return nodes.drainJob(effect.job, effect.node);
    case 'discard':
      return results.discard(effect.token);
    case 'list':
      return work.list(effect.job);
    case 'make-parts':
      return inner.make(effect.job);
    case 'seal':
      return work.seal(effect.job);
    case 'forget':
      return inner.forget(effect.job);
    case 'prologue': {
      const pieces = [prologueBytes(effect.schema)];
      return work.filesOf(effect.job)?.enqueue({ kind: 'append', offset: 0, pieces }, () => undefined);
    }
    case 'append': {
      const { job, offset, token } = effect;
      const pieces = results.pieces(token);
      return work.filesOf(job)?.enqueue({ kind: 'append', offset, pieces }, written(sides, token, job));
    }
    case 'stage': {
      const { job, segment, offset, token } = effect;
      const pieces = results.pieces(token);
      return work.filesOf(job)?.enqueue({ kind: 'stage', segment, offset, pieces }, written(sides, token, job));
    }
    case 'settle': {
      const { job, segment, token } = effect;
      // Without bytes there is nothing to make durable, but the order of commits is kept all the same.
      const operation = segment < 0 ? ({ kind: 'none' } as const) : ({ kind: 'adopt', segment } as const);
      return work.filesOf(job)?.enqueue(operation, written(sides, token, job));
    }
    case 'copy': {
      const { from, toOffset, job } = effect;
      return work.filesOf(job)?.enqueue({ kind: 'copy', from, toOffset }, () => loop.handle({ kind: 'copied', job }));
    }
    case 'drop-segment':
      return work.filesOf(effect.job)?.enqueue({ kind: 'drop', segment: effect.segment }, () => undefined);
  }
}

/** The bytes of a result are on the disk. */
function written({ loop, results }: Sides, token: Token, job: JobName): () => void {
  return () => {
    results.release(token);
    loop.handle({ kind: 'written', job, token });
  };
}

/** Where a result that is too large for memory goes, piece by piece. @throws LEASE_STALE */
export function openUpload(loop: Loop, work: JobWork, token: Token): SegmentSink {
  const lease = loop.ledger.leases.get(token.counter);
  if (!lease) throw new BatchError('LEASE_STALE', 'the lease ended before its upload began');
  loop.handle({ kind: 'upload-began', node: lease.node, token });
  const sink = lease.uploadSegment === null ? null : work.filesOf(lease.job)?.openSegment(lease.uploadSegment);
  if (!sink) throw new BatchError('LEASE_STALE', `job ${lease.job} takes no results any more`);
  return sink;
}
