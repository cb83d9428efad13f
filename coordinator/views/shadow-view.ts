/** What a job's shadow has come to, as callers see it. */
import type { LatencyView, ShadowView } from '../api/backend.ts';
import type { Job } from '../core/ledger.ts';

/** Null: the job has none. */
export function shadowView({ shadow, shadowed, rows, takenFiles }: Job): ShadowView | null {
  if (shadow === null || shadowed === null) return null;
  const { counts, compared, failed, otherColumns, columns, reasons, seconds } = shadowed.sums();
  const { rowsSame: same, rowsDifferent: different } = counts;
  const latency = (of: 'default' | 'shadow'): LatencyView => ({
    total: seconds[of],
    p50: shadowed.quantile(of, 0.5),
    p95: shadowed.quantile(of, 0.95),
  });
  return {
    deployment: shadow.deployment.name,
    ...{ revision: shadow.revision, tolerance: shadow.tolerance },
    agreement: same + different === 0 ? null : same / (same + different),
    rows: { compared: same + different, same, different, not_compared: rows - same - different },
    files: {
      ...{ same: counts.filesSame, different: counts.filesDifferent, other_row_counts: counts.filesOtherRows },
      ...{ failed_only_default: counts.filesFailedDefault, failed_only_shadow: counts.filesFailedShadow },
      ...{ failed_both: counts.filesFailedBoth, taken: takenFiles },
    },
    mini_batches: { compared, failed, other_columns: otherColumns },
    columns,
    seconds: { default: latency('default'), shadow: latency('shadow') },
    failures: reasons.map(({ code, message, miniBatches }) => ({ code, message, mini_batches: miniBatches })),
  };
}
