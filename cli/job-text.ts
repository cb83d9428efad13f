/** Jobs, nodes and files in words and columns. */
import type { ArtifactSource, LocalDeployment } from '../common/core/deployment.ts';
import type { SplitCount } from '../common/core/split.ts';
import { unreachable } from '../common/core/invariant.ts';
import { isOneFile } from '../common/core/parts-form.ts';
import { skippedReasons } from '../common/core/skipped-names.ts';
import type { JobEvent, JobView, LastFailureView, GpuView, NodeView } from '../coordinator/api/backend.ts';
import type { CircumstancesView } from '../coordinator/views/circumstances.ts';
import { missingText } from '../coordinator/views/job-view.ts';
import { shadowColumns } from './agreement-text.ts';
import { bytesText } from './bytes-text.ts';
import { environmentText } from './config-text.ts';
import { durationText, timeLeft, timeLeftText, type Pace } from './pace.ts';
import type { Column } from './table.ts';

export const jobColumns: readonly Column<JobView>[] = [
  { title: 'name', value: (job) => job.name },
  { title: 'status', value: (job) => (job.paused ? `${job.status}, paused` : job.status) },
  { title: 'files', value: (job) => filesText(job) },
  { title: 'failed', value: (job) => job.files.failed },
  { title: 'rows', value: (job) => job.rows },
  { title: 'deployment', value: (job) => job.deployment },
  { title: 'created', value: (job) => job.created_at },
];

/** What one job looks like alone. */
export const jobSheet: readonly Column<JobView>[] = [
  ...jobColumns,
  { title: 'waiting', value: (job) => job.waiting },
  { title: 'no result', value: (job) => (job.files.missing > 0 ? missingText(job.files.missing) : null) },
  { title: 'last failure', value: (job) => job.last_failure && lastFailureText(job.last_failure) },
  { title: 'since', value: (job) => sinceText(job) },
  ...shadowColumns,
  { title: 'shared out', value: (job) => job.files.split && splitText(job.files.split) },
  { title: 'skipped', value: (job) => skippedText(job) },
  { title: 'mini-batches', value: (job) => `${job.mini_batches.committed} of ${job.mini_batches.total}` },
  { title: 'failed tries', value: (job) => job.mini_batches.failed_tries || null },
  { title: 'nodes', value: (job) => (job.ended_at === null ? job.nodes : null) },
  {
    title: 'quarantined nodes',
    value: (job) => job.quarantined_nodes.map(({ name, reason }) => `${name}: ${reason}`).join('; ') || null,
  },
  { title: 'input', value: (job) => job.input_path },
  { title: 'output', value: (job) => job.output_file ?? job.output_path },
  { title: 'generation', value: (job) => (job.generation > 1 ? job.generation : null) },
  { title: 'started', value: (job) => job.started_at },
  { title: 'ended', value: (job) => job.ended_at },
  { title: 'error', value: (job) => job.error && `${job.error.code}: ${job.error.message}` },
];

export const nodeColumns: readonly Column<NodeView>[] = [
  { title: 'name', value: (node) => node.name },
  { title: 'state', value: (node) => (node.cordoned ? `${node.state}, cordoned` : node.state) },
  { title: 'slots', value: (node) => node.slots },
  { title: 'leases', value: (node) => node.leases },
  { title: 'host', value: (node) => node.hostname },
  { title: 'pid', value: (node) => node.pid },
  { title: 'joined', value: (node) => node.joined_at },
  { title: 'leaves', value: (node) => node.leaves_at },
  { title: 'quarantined', value: quarantineText },
];

/** One worker node. */
export const nodeSheet: readonly Column<NodeView>[] = [
  ...nodeColumns,
  {
    title: 'labels',
    value: ({ labels }) =>
      Object.entries(labels)
        .map((pair) => pair.join('='))
        .join(', ') || null,
  },
  { title: 'gpus', value: ({ gpus }) => gpus.map(gpuText).join(', ') || null },
  { title: 'heartbeat gap', value: (node) => `${node.heartbeat_gap_ms_max} ms at most` },
];

/** `0 (NVIDIA A100-SXM4-40GB): 12.1 GB of 40.0 GB, 97 % busy` */
function gpuText({ name, model, memory_used_bytes: used, memory_bytes: all, busy_percent: busy }: GpuView): string {
  const total = all === null ? '' : ` of ${bytesText(all)}`;
  return `${name}${model && ` (${model})`}: ${bytesText(used)}${total}${busy === null ? '' : `, ${busy} % busy`}`;
}

function quarantineText({ quarantine, quarantines }: NodeView): string | null {
  const own = quarantine === null ? [] : [quarantine];
  return [...own, ...quarantines.map(({ job, reason }) => `${job}: ${reason}`)].join('; ') || null;
}

export const eventColumns: readonly Column<JobEvent>[] = [
  { title: 'sequence', value: (event) => event.sequence },
  { title: 'time', value: (event) => event.time },
  { title: 'kind', value: (event) => event.kind },
  { title: 'message', value: (event) => event.message },
];

/** A file of the output. */
export interface OutputFile {
  readonly path: string;
  readonly size_bytes: number;
}

export const fileColumns: readonly Column<OutputFile>[] = [
  { title: 'path', value: (file) => file.path },
  { title: 'bytes', value: (file) => file.size_bytes },
];

/** `09:30:13  message` */
export function eventText(event: JobEvent): string {
  return `${event.time.slice(11, 19)}  ${event.message}`;
}

/** One line that says how far a job is; `pace` is of files, null while it is not known. */
export function progressText(job: JobView, pace: Pace | null): string {
  const { total, is_listed: isListed, scored, failed, taken } = job.files;
  const done = scored + failed;
  const percent = isListed && total > 0 ? ` (${Math.floor((100 * done) / total)} %)` : '';
  const parts = [`${filesText(job)} files${percent}`, `${job.rows} rows`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (taken > 0) parts.push(`${taken} taken`);
  if (pace !== null && job.ended_at === null) parts.push(`${rateText(pace.recent)} files/s`);
  if (job.parts)
    parts.push(`${job.parts.made} of ${job.parts.is_listed ? '' : 'more than '}${job.parts.total} parts made`);
  const left = pace === null || !isListed ? null : timeLeft(total - done, pace);
  if (left !== null && left.shortest >= 1) parts.push(timeLeftText(left));
  // Once all is scored nobody works on it, which would read as if something were missing.
  if (job.status !== 'Finalizing' && job.ended_at === null)
    parts.push(job.nodes === 1 ? '1 node' : `${job.nodes} nodes`);
  return `${job.status}  ${parts.join(' · ')}${job.waiting === null ? '' : ` · waiting: ${job.waiting}`}`;
}

/** What it came to, for the end of `job stream`. */
export const summarySheet: readonly Column<JobView>[] = [
  { title: 'files', value: (job) => `${job.files.scored} scored, ${job.files.failed} failed, of ${job.files.total}` },
  { title: 'rows', value: (job) => job.rows },
  { title: 'took', value: (job) => tookText(job) },
  ...shadowColumns,
  { title: 'mini-batches', value: (job) => `${job.mini_batches.committed} of ${job.mini_batches.total}` },
  { title: 'failed tries', value: (job) => job.mini_batches.failed_tries || null },
  {
    title: 'quarantined nodes',
    value: (job) => job.quarantined_nodes.map(({ name, reason }) => `${name}: ${reason}`).join('; ') || null,
  },
];

/** `2 min, 41 files/s` */
function tookText({ started_at: from, ended_at: to, files }: JobView): string | null {
  if (from === null || to === null) return null;
  const seconds = (Date.parse(to) - Date.parse(from)) / 1_000;
  const rate = seconds > 0 ? `, ${rateText((files.scored - files.taken + files.failed) / seconds)} files/s` : '';
  return `${durationText(seconds)}${rate}`;
}

/** How a job ended, in a sentence. */
export function fateText(job: JobView): string {
  const { scored, total, split } = job.files;
  const parts = split === null ? '' : ` (${splitText(split)})`;
  const files = `${scored} of ${total} files${parts}, ${job.rows} rows`;
  const failed = job.files.failed > 0 ? `; ${job.files.failed} failed, see _errors.jsonl` : '';
  const since = sinceText(job);
  const taken = since === null ? '' : `; ${since}`;
  const where = job.status === 'Completed' ? ` in ${job.output_file ?? job.output_path}` : '';
  const missing = job.files.missing > 0 ? `; ${missingText(job.files.missing)}` : '';
  return `${job.name} ${job.status}: ${files}${where}${taken}${failed}${missing}`;
}

/** `4988 files taken from digits-7h3k, 12 scored` */
function sinceText({ since, files }: JobView): string | null {
  if (since === null) return null;
  if (since.reason !== null) return `nothing taken from ${since.job}: ${since.reason}`;
  return `${files.taken} files taken from ${since.job}, ${files.scored - files.taken} scored`;
}

/** `file 299 on node-1: SCORER_TIMEOUT: run() took … (tried 4 times, 2.0 s)` */
function lastFailureText(failure: LastFailureView): string {
  const { first, count, code, message, node } = failure;
  const files = count === 1 ? `file ${first}` : `files ${first} to ${first + count - 1}`;
  return `${files}${node === null ? '' : ` on ${node}`}: ${code}: ${message} (${attemptFacts(failure).join(', ')})`;
}

/** `2 large files in 40 parts` */
export function splitText({ files, parts }: SplitCount): string {
  return `${files === 1 ? '1 large file' : `${files} large files`} in ${parts} parts`;
}

/** `12: 10 hidden, 2 excluded` */
function skippedText({ files: { skipped, skipped_by: by } }: JobView): string | null {
  if (skipped === 0) return null;
  return by === null ? String(skipped) : `${skipped}: ${skippedReasons(by)}`;
}

/** What is known of an attempt, in a few words each. */
export function attemptFacts(attempt: CircumstancesView & { readonly tries: number }): readonly string[] {
  const { tries, run_seconds: seconds, peak_memory_bytes: bytes, host_exit: exit } = attempt;
  return [
    `tried ${tries} ${tries === 1 ? 'time' : 'times'}`,
    ...(seconds === null ? [] : [`${seconds.toFixed(1)} s`]),
    ...(bytes === null ? [] : [`${Math.round(bytes / 1_048_576)} MiB at most`]),
    ...(exit === null ? [] : [`host ended: ${exit}`]),
  ];
}

/** What scores, in words. */
export function scorerText(deployment: LocalDeployment): string {
  const { scorer, model, code } = deployment;
  switch (scorer.kind) {
    case 'onnx':
      return `built-in ONNX scorer, ${sourceText(model)}`;
    case 'mlflow':
      return `MLflow model, ${sourceText(model)}`;
    case 'python':
    case 'node':
      return `${scorer.script} in ${sourceText(code)}${model ? `, model ${sourceText(model)}` : ''}`;
    case 'encode':
      return `rows into files of ${scorer.parts.format}`;
    default:
      return unreachable(scorer);
  }
}

function sourceText(source: ArtifactSource | null): string {
  if (source === null) return '';
  return 'path' in source ? source.path : (source.asset ?? source.digest);
}

/** Resolved settings of a deployment, for `validate`. */
export const deploymentSheet: readonly Column<LocalDeployment>[] = [
  { title: 'name', value: (one) => one.name },
  { title: 'scorer', value: (one) => scorerText(one) },
  { title: 'environment', value: (one) => (hasPython(one) ? environmentText(one.environment) : null) },
  { title: 'mini_batch_size', value: ({ settings: { miniBatchSize } }) => sizeText(miniBatchSize) },
  { title: 'tries', value: (one) => one.settings.triesMax },
  { title: 'timeout', value: (one) => `${one.settings.timeoutMs / 1_000} s` },
  { title: 'error_threshold', value: (one) => one.settings.errorThreshold },
  { title: 'isolation', value: (one) => one.settings.isolation },
  { title: 'speculation', value: (one) => one.settings.speculation },
  { title: 'memory', value: ({ settings: { memoryBytesMax } }) => memoryBytesMax && `${memoryBytesMax} bytes` },
  { title: 'output', value: (one) => outputText(one) },
  { title: 'custom output', value: (one) => (hasPython(one) ? one.settings.customOutput : null) },
];

function hasPython({ scorer }: LocalDeployment): boolean {
  return scorer.kind === 'python' || scorer.kind === 'mlflow';
}

function outputText({ settings }: LocalDeployment): string {
  if (settings.outputAction === 'summary_only') return 'summary_only';
  const { parts } = settings;
  if (!parts) return `${settings.outputFileName} (${settings.outputFormat})`;
  const by = parts.partitionBy.length > 0 ? `, by ${parts.partitionBy.join(', ')}` : '';
  return `${settings.outputFileName}${isOneFile(parts) ? '' : ' …'} (${parts.format}${by})`;
}

function sizeText(size: LocalDeployment['settings']['miniBatchSize']): string {
  switch (size.kind) {
    case 'files':
      return `${size.files} files`;
    case 'bytes':
      return `${size.bytes} bytes`;
    case 'seconds':
      return `about ${size.seconds} s`;
    case 'auto':
      return 'auto';
    default:
      return unreachable(size);
  }
}

/** Those that were scored, as in {@link fateText}: `250/500`, with a `+` while the listing goes on. Failed ones are told beside it. */
function filesText(job: JobView): string {
  return `${job.files.scored}/${job.files.total}${job.files.is_listed ? '' : '+'}`;
}

function rateText(rate: number): string {
  return rate >= 10 ? String(Math.round(rate)) : rate.toFixed(1);
}
