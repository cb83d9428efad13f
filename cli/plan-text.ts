/** What an input would come to, for people: a sheet, the sizes as bars, the plans side by side. */
import { skippedReasons } from '../common/core/skipped-names.ts';
import type { PlanReport, PlanView } from '../coordinator/plan-input.ts';
import { bytesText } from './bytes-text.ts';
import { splitText } from './job-text.ts';
import { sampleText } from './sample-text.ts';
import { formatSheet, formatTable, type Column } from './table.ts';

const barCharsMax = 40;
const typesShown = 6;

/** One line of values, for `-o tsv`. */
export const planColumns: readonly Column<PlanReport>[] = [
  { title: 'files', value: (plan) => plan.files },
  { title: 'bytes', value: (plan) => plan.bytes },
  { title: 'skipped', value: (plan) => plan.skipped },
  { title: 'mini-batches', value: (plan) => plan.plans[0]?.mini_batches ?? null },
  { title: 'skew', value: (plan) => plan.plans[0]?.skew ?? null },
  { title: 'slots', value: (plan) => plan.slots },
];

/** Of the deployment's own plan, which is the first. */
const ofOwn =
  (text: (own: PlanView) => string) =>
  ({ plans: [own] }: PlanReport): string | null =>
    own ? text(own) : null;

const sheet: readonly Column<PlanReport>[] = [
  { title: 'files', value: (plan) => `${plan.files} (${bytesText(plan.bytes)})` },
  { title: 'shared out', value: ({ split }) => (split === undefined ? null : splitText(split)) },
  {
    title: 'skipped',
    value: (plan) => (plan.skipped === 0 ? null : `${plan.skipped}: ${skippedReasons(plan.skipped_by)}`),
  },
  {
    title: 'unreadable',
    value: (plan) => (plan.unreadable === 0 ? null : `${plan.unreadable}, which will fail with INPUT_UNREADABLE`),
  },
  { title: 'types', value: (plan) => typesText(plan) },
  { title: 'file sizes', value: (plan) => spreadText(plan.file_bytes) },
  {
    title: 'mini-batches',
    value: ofOwn((own) => {
      const { mini_batches: count, mini_batch_size: size } = own;
      return `${count} by mini_batch_size ${size}, ${bytesText(own.mean_bytes)} on average`;
    }),
  },
  {
    title: 'skew',
    value: ofOwn(
      (own) => `${own.skew.toFixed(2)}, the largest mini-batch (${bytesText(own.largest_bytes)}) over the mean`,
    ),
  },
  { title: 'slots', value: (plan) => `${plan.slots}, at best ${bytesText(plan.lower_bound_bytes)} each` },
];

export function planText(plan: PlanReport): string {
  const tables = `${histogramText(plan)}\n${formatTable(plan.plans, outlookColumns(plan))}${footnote(plan)}`;
  return `${formatSheet(plan, sheet)}\n${tables}${plan.sample ? `\n${sampleText(plan, plan.sample)}` : ''}`;
}

function typesText({ types }: PlanReport): string {
  const shown = types
    .slice(0, typesShown)
    .map(({ extension, files }) => `${extension === '' ? 'none' : extension} ${files}`);
  const more = types.length - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function spreadText({ smallest, median, p99, largest }: PlanReport['file_bytes']): string {
  return `${bytesText(smallest)} to ${bytesText(largest)}, median ${bytesText(median)}, 99 of 100 up to ${bytesText(p99)}`;
}

function histogramText({ histogram }: PlanReport): string {
  const most = Math.max(...histogram.map(({ files }) => files));
  return formatTable(histogram, [
    { title: 'file size', value: (one) => (one.to_bytes === 1 ? 'empty' : `${bytesText(one.from_bytes)} up`) },
    { title: 'files', value: (one) => one.files },
    { title: 'bytes', value: (one) => bytesText(one.bytes) },
    { title: '', value: ({ files }) => '█'.repeat(Math.ceil((files / most) * barCharsMax)) },
  ]);
}

function outlookColumns({ plans: [own] }: PlanReport): readonly Column<PlanView>[] {
  return [
    { title: 'mini_batch_size', value: (one) => `${one.mini_batch_size}${one === own ? ' (deployment)' : ''}` },
    { title: 'mini-batches', value: (one) => one.mini_batches },
    { title: 'largest', value: (one) => bytesText(one.largest_bytes) },
    { title: 'skew', value: (one) => one.skew.toFixed(2) },
    { title: 'input order', value: (one) => `${one.over_lower_bound.input_order.toFixed(2)} ×` },
    { title: 'longest first', value: (one) => `${one.over_lower_bound.longest_first.toFixed(2)} ×` },
  ];
}

function footnote({ slots, lower_bound_bytes: bound }: PlanReport): string {
  return `The last two: bytes of the busiest of ${slots} slots over the lower bound, ${bytesText(bound)}; 1.00 × is best.\n`;
}
