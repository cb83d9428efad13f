/** `batch-endpoint invoke`: one input through a deployment, as a job. */
import { dirname, join, resolve } from 'node:path';
import { applySet, openConfig, type OpenedFile } from '../../common/config/deployment-file.ts';
import { ConfigSource } from '../../common/config/config-source.ts';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { inputText } from '../../common/config/input-location.ts';
import { readInvocation, type InvocationPlace } from '../../common/config/invocation-file.ts';
import { asLabels } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { jobOf } from '../api/jobs.ts';
import { endpointPath } from '../api/registry.ts';
import type { CommandContext } from '../command-context.ts';
import { numberFlag } from '../number-flag.ts';
import { priorityOf } from '../priority.ts';
import { jobSheet } from '../job-text.ts';
import type { PathFlags } from '../program-parts.ts';
import { followCommand } from './job-follow.ts';
import { elsewhereNotes, sentInput, type GivenInput } from './sent-input.ts';
import { required, uploadsOf } from './thing-parts.ts';

export interface InvokeFlags extends PathFlags {
  readonly name?: string;
  readonly deploymentName?: string;
  readonly input?: string;
  readonly inputType?: 'uri_folder' | 'uri_file';
  readonly inputData?: string;
  readonly inputPath?: string;
  readonly inputLocalPath?: string;
  readonly file?: string;
  readonly set?: readonly string[];
  readonly outputPath?: string;
  readonly miniBatchSize?: string;
  readonly instanceCount?: string;
  readonly jobName?: string;
  readonly experimentName?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly inputList?: string;
  readonly inputListColumn?: string;
  readonly overwrite?: boolean;
  readonly since?: string;
  readonly shadow?: string;
  readonly shadowTolerance?: string;
  readonly priority?: string;
  readonly compute?: string;
  readonly require?: readonly string[];
  readonly idempotencyKey?: string;
  readonly wait?: boolean;
  readonly stream?: boolean;
}

/** Starts the job and answers with it, or with its end. @returns the exit code */
export async function invokeCommand(context: CommandContext, flags: InvokeFlags): Promise<number> {
  const { output } = context;
  const endpoint = required(flags.name, '--name/-n');
  const opened = await openInvocation(context, flags);
  const said = readInvocation(opened.source);
  const given = inputOf(context, flags, opened, said.input);
  const api = await context.transport();
  const uploads = await uploadsOf(context, api, flags);
  const input = given === null ? null : await sentInput(given, uploads);
  const place = said.output && outputPlace(context, opened, said.output);
  const { since, inputList } = flags;
  const left = { output: said.output?.path, since, inputList };
  for (const note of elsewhereNotes(uploads, left, context.host.cwd)) output.note(note);
  const { overrides, input: _input, output: _output, ...labels } = said;
  const body = {
    ...labels,
    ...(input === null ? {} : { input: input.path, ...(input.type === null ? {} : { input_type: input.type }) }),
    ...(place === null ? {} : { outputs: { [said.output?.name ?? 'score']: place } }),
    ...selection(context, flags),
    ...(Object.keys(overrides).length === 0 ? {} : { overrides }),
    ...(flags.overwrite ? { overwrite: true } : {}),
    ...(flags.since === undefined ? {} : { since: flags.since }),
    ...shadowOf(flags),
    ...(flags.priority === undefined ? {} : { priority: priorityOf(flags.priority) }),
    ...(flags.require === undefined ? {} : { require: asLabels(flags.require.join(), '--require') }),
  };
  const idempotencyKey = flags.idempotencyKey ?? null;
  const job = jobOf(api, await api.ask('POST', `${endpointPath(endpoint)}/jobs`, { body, idempotencyKey }));
  output.note(`endpoint    ${job.endpoint ?? endpoint}, deployment ${job.deployment}`);
  if (job.shadow) output.note(`shadow      ${job.shadow.deployment}, revision ${job.shadow.revision}`);
  output.note(`input       ${job.input_path}`);
  output.note(`output      ${(job.output_file ?? job.output_path).replace(/\.partial$/, '')}`);
  output.note(`job         ${job.name}`);
  if (flags.stream) return await followCommand(context, job, 'stream');
  if (flags.wait) return await followCommand(context, job, 'wait');
  output.note(`next        batchmill job stream -n ${job.name}`);
  output.item(job, jobSheet);
  return 0;
}

/** @throws USAGE */
function shadowOf({ shadow, shadowTolerance: text }: InvokeFlags): {
  readonly shadow?: string;
  readonly shadow_tolerance?: number;
} {
  if (text === undefined) return shadow === undefined ? {} : { shadow };
  if (shadow === undefined) throw new BatchError('USAGE', '--shadow-tolerance: name the deployment with --shadow too');
  return { shadow, shadow_tolerance: numberFlag('--shadow-tolerance', text) ?? 0 };
}

/** The file, `--set`, then the flags, each over what was before. */
async function openInvocation({ host }: CommandContext, flags: InvokeFlags): Promise<OpenedFile> {
  const opened = await openInputs(flags.file, host.cwd);
  for (const text of flags.set ?? []) applySet(opened.source, text);
  const over = (key: readonly string[], value: string | undefined, flag: string): void => {
    if (value !== undefined) opened.source.override(key, JSON.stringify(value), flag);
  };
  over(['deployment_name'], flags.deploymentName, '--deployment-name');
  over(['mini_batch_size'], flags.miniBatchSize, '--mini-batch-size');
  over(['instance_count'], flags.instanceCount, '--instance-count');
  over(['job_name'], flags.jobName, '--job-name');
  over(['experiment_name'], flags.experimentName, '--experiment-name');
  over(['compute'], flags.compute, '--compute');
  if (flags.outputPath !== undefined) {
    opened.source.override(['outputs'], JSON.stringify({ score: { path: flags.outputPath } }), '--output-path');
  }
  return opened;
}

async function openInputs(file: string | undefined, cwd: string): Promise<OpenedFile> {
  const none = { source: new ConfigSource('', 'the flags'), file: join(cwd, 'flags'), isYaml: true, cwd };
  if (file === undefined) return none;
  if ((await kindAt(resolve(cwd, file))) === 'file') return await openConfig(file, { cwd });
  throw new BatchError('DEPLOYMENT_NOT_FOUND', `${file} does not exist; wanted a YAML with inputs and outputs`);
}

/** The flags win over the file. @throws USAGE when there is none, or two */
function inputOf(
  { host, output }: CommandContext,
  flags: InvokeFlags,
  { source, file, cwd }: OpenedFile,
  said: InvocationPlace | null,
): GivenInput | null {
  const type = flags.inputType ?? null;
  const older = olderInput(flags);
  if (older !== null) output.note(`note: ${older.flag} is --input now`);
  const text = flags.input ?? older?.text;
  if (text !== undefined) return { text, type: older?.type ?? type, baseDir: host.cwd };
  if (said !== null) {
    const isFlag = source.locate(said.key, 'value').startsWith('--set');
    return { text: said.path, type: said.type ?? type, baseDir: isFlag ? cwd : dirname(file) };
  }
  if (flags.inputList !== undefined) return null;
  throw new BatchError('USAGE', 'the following arguments are required: --input');
}

/** @source Azure ML CLI, invoke of 2021 and 2022 */
function olderInput(flags: InvokeFlags): (Omit<GivenInput, 'baseDir'> & { readonly flag: string }) | null {
  if (flags.inputData !== undefined) return { flag: '--input-data', text: flags.inputData, type: null };
  if (flags.inputLocalPath !== undefined) return { flag: '--input-local-path', text: flags.inputLocalPath, type: null };
  if (flags.inputPath === undefined) return null;
  const [, kind, text = ''] = /^(folder|file):(.*)$/is.exec(flags.inputPath) ?? [];
  if (kind === undefined) return { flag: '--input-path', text: flags.inputPath, type: null };
  return { flag: '--input-path', text, type: kind.toLowerCase() === 'file' ? 'uri_file' : 'uri_folder' };
}

/** Absolute, or a location. */
function outputPlace(
  { host }: CommandContext,
  { source, file }: OpenedFile,
  said: InvocationPlace,
): { readonly type: string; readonly path: string } {
  const isFlag = source.locate(said.key, 'value').startsWith('--');
  return { type: said.type ?? 'uri_folder', path: inputText(said.path, isFlag ? host.cwd : dirname(file)) };
}

function selection({ host }: CommandContext, flags: InvokeFlags): Readonly<Record<string, unknown>> {
  const { include, exclude, inputList, inputListColumn } = flags;
  return {
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(inputList === undefined ? {} : { input_list: resolve(host.cwd, inputList) }),
    ...(inputListColumn === undefined ? {} : { input_list_column: inputListColumn }),
  };
}
