/** What a sample of an input came to, for people. */
import type { SampleReport } from '../coordinator/core/sample-report.ts';
import type { PlanReport } from '../coordinator/plan-input.ts';
import { bytesText } from './bytes-text.ts';
import { formatSheet, formatTable, type Column } from './table.ts';

const columnsShown = 12;

export function sampleText(plan: PlanReport, sample: SampleReport): string {
  const sheet: readonly Column<SampleReport>[] = [
    { title: 'sample', value: (one) => `${one.files} of ${plan.files} files (${bytesText(one.bytes)}), really scored` },
    {
      title: 'whole job',
      value: ({ job_seconds: told }) => `${rangeText(told, secondsText)} on ${slotsText(plan.slots)}`,
    },
    { title: 'in run()', value: ({ run_seconds: told }) => `${rangeText(told, secondsText)} in all` },
    {
      title: 'a file',
      value: (one) => `${secondsText(one.seconds_per_file)}, and ${secondsText(one.seconds_per_mb)} for each MB of it`,
    },
    {
      title: 'init()',
      value: (one) =>
        `${secondsText(one.init_seconds)} for each process, and ${secondsText(one.first_file_seconds)} more for its first file`,
    },
    {
      title: 'memory',
      value: ({ peak_memory_bytes: bytes }) => (bytes === null ? null : `${bytesText(bytes)} a process at most`),
    },
    {
      title: 'output',
      value: (one) =>
        `${rangeText(one.output_bytes, bytesText)}, ${rangeText(one.output_rows, (rows) => String(rows))} rows`,
    },
    { title: 'columns', value: ({ columns }) => columnsText(columns) },
    {
      title: 'suggested',
      value: ({ suggested }) =>
        `--slots ${suggested.slots} on this machine, --mini-batch-size ${suggested.mini_batch_size}`,
    },
    {
      title: 'failing',
      value: ({ failed, files, failing_files: all }) =>
        failed.length === 0
          ? null
          : `${failed.length} of ${files} files failed, which would be about ${all} of ${plan.files} (${shareText(all / plan.files)})`,
    },
  ];
  const failed = sample.failed.length === 0 ? '' : `\n${formatTable(sample.failed, failedColumns)}`;
  return `${formatSheet(sample, sheet)}${failed}`;
}

const failedColumns: readonly Column<SampleReport['failed'][number]>[] = [
  { title: 'failed file', value: ({ path }) => path },
  { title: 'code', value: ({ code }) => code },
  { title: 'message', value: ({ message }) => message },
];

function rangeText({ estimate, low, high }: SampleReport['job_seconds'], text: (value: number) => string): string {
  if (low === null || high === null) return `about ${text(estimate)} (too few files to say how sure)`;
  return low === high ? text(estimate) : `${text(estimate)} (${text(low)} to ${text(high)}, 9 times of 10)`;
}

/** `0.03 s`, `41 s`, `2 h 05 min` */
function secondsText(seconds: number): string {
  if (seconds < 10) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

const slotsText = (slots: number): string => `${slots} ${slots === 1 ? 'slot' : 'slots'}`;
const shareText = (share: number): string => `${Number((100 * share).toPrecision(2))} %`;

/** Text has no types. */
function columnsText(columns: SampleReport['columns']): string | null {
  if (columns.length === 0) return null;
  const shown = columns.slice(0, columnsShown).map(({ name, type }) => (type === 'value' ? name : `${name} ${type}`));
  const more = columns.length - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
