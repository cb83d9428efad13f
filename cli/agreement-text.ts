/** How far rows of two scorers agree, in words. */
import { differencesName } from '../common/core/shadow.ts';
import type { JobView, LatencyView, ShadowView } from '../coordinator/api/backend.ts';
import type { Column } from './table.ts';

/** `96.00 %` */
export function agreementText(part: number | null): string {
  return part === null ? 'nothing to compare' : `${(part * 100).toFixed(2)} %`;
}

/** What a job says of its shadow; nothing where it has none. */
export const shadowColumns: readonly Column<JobView>[] = [
  { title: 'shadow', value: ({ shadow }) => shadow && shadowText(shadow) },
  { title: 'differences', value: (job) => job.shadow && differencesText(job.shadow, job.output_path) },
  { title: 'other columns', value: ({ shadow }) => shadow && columnsText(shadow) },
  { title: 'one mini-batch', value: ({ shadow }) => shadow && latencyText(shadow) },
  { title: 'shadow failed', value: ({ shadow }) => shadow && failuresText(shadow) },
];

/** `keras, revision 1: 192 of 200 rows the same, 96.00 %` */
function shadowText({ deployment, revision, rows, agreement }: ShadowView): string {
  const apart = rows.not_compared === 0 ? '' : `; ${rows.not_compared} rows have no counterpart`;
  return `${deployment}, revision ${revision}: ${rows.same} of ${rows.compared} rows the same, ${agreementText(agreement)}${apart}`;
}

function differencesText({ rows, files }: ShadowView, outputPath: string): string | null {
  const parts = [
    ...some(rows.different, 'rows'),
    ...some(files.other_row_counts, 'files with another number of rows'),
    ...some(files.failed_only_shadow, 'files that only the shadow failed'),
    ...some(files.failed_only_default, 'files that only the shadow scored'),
  ];
  return parts.length === 0 ? null : `${parts.join(', ')}, in ${outputPath}/${differencesName}`;
}

function some(count: number, what: string): readonly string[] {
  return count === 0 ? [] : [`${count} ${what}`];
}

function columnsText({ columns }: ShadowView): string | null {
  return columns && `${columns.shadow.join(', ')} in place of ${columns.default.join(', ')}`;
}

/** `0.12 s (95 % within 0.15 s), the shadow 0.31 s (0.38 s)` */
function latencyText({ deployment, seconds }: ShadowView): string | null {
  const text = ({ p50, p95 }: LatencyView): string => `${fine(p50 ?? 0)} (95 % within ${fine(p95 ?? 0)})`;
  if (seconds.default.p50 === null) return null;
  return `${text(seconds.default)} in run(), ${deployment} ${text(seconds.shadow)}`;
}

function fine(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1_000)} ms` : `${seconds.toFixed(1)} s`;
}

function failuresText({ mini_batches: { failed }, failures }: ShadowView): string | null {
  if (failed === 0) return null;
  const why = failures.map(
    ({ code, message, mini_batches }) => `${code} (${mini_batches}): ${message.split('\n', 1)[0] ?? ''}`,
  );
  return `${failed} mini-batches: ${why.join('; ')}`;
}
