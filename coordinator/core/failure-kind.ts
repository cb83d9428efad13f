/** What a failure's code says about whose fault it is. */
import { errorRule, type ErrorCode } from '../../common/core/error-codes.ts';
import type { FailureKind } from './events.ts';

export function failureKind(code: ErrorCode): FailureKind {
  if (code === 'SCORER_TIMEOUT') return 'timeout';
  if (code === 'SCORER_OUT_OF_MEMORY') return 'memory';
  if (code === 'SCORER_CRASHED' || code === 'FRAME_CORRUPT') return 'crash';
  const { category } = errorRule(code);
  return category === 'transient' || category === 'operator' ? 'lost' : 'error';
}

/** Whether a failure may be the node's fault: another node may well score the mini-batch. */
export function isOfNode(kind: FailureKind, code: ErrorCode): boolean {
  return kind === 'lost' ? code !== 'NODE_LOST' : kind !== 'error';
}
