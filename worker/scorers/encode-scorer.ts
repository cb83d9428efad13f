/** Makes the parts of an output from rows that were scored: each file is a run of rows, each result names the files it became. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { EncodeScorer } from '../../common/core/deployment.ts';
import type { HostInit } from '../../common/core/host-protocol.ts';
import type { HostScorer } from './host-scorer.ts';

export function openEncodeScorer(init: HostInit, { parts }: EncodeScorer): Promise<HostScorer> {
  throw new BatchError('INTERNAL', `${init.job}: no ${parts.format} yet`);
}
