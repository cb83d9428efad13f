/** Flags that change a deployment, the same for `run`, `job submit` and `validate`. */
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import { inputText } from '../../common/config/input-location.ts';
import { pythonSetting } from '../../common/config/process-settings.ts';
import { patternProblem } from '../../common/config/input-pattern.ts';
import { parseReference, referenceText } from '../../common/config/reference.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { DeploymentSettings, LocalDeployment } from '../../common/core/deployment.ts';
import {
  inputListColumnDefault,
  patternsText,
  selectionOf,
  type InputList,
  type InputSelection,
} from '../../common/core/input-selection.ts';
import { isOneFile } from '../../common/core/parts-form.ts';
import { limits } from '../../common/core/limits.ts';
import { fractionOf } from '../../common/core/onnx-settings.ts';
import type { CommandContext } from '../command-context.ts';
import { scorerText } from '../job-text.ts';

export interface DeploymentFlags {
  readonly set?: readonly string[];
  readonly miniBatchSize?: string;
  readonly splitFiles?: string;
  readonly scale?: string;
  readonly format?: string;
  readonly model?: string;
  readonly environment?: string;
  readonly skipScriptValidation?: boolean;
  /** Of `run` alone. */
  readonly python?: string;
}

/** Which files of the input. */
export interface SelectionFlags {
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly inputList?: string;
  readonly inputListColumn?: string;
}

export interface InputFlags extends DeploymentFlags, SelectionFlags {
  /** Empty: the folder of the list. */
  readonly input: string;
}

export interface InvocationFlags extends InputFlags {
  readonly output: string;
  readonly overwrite?: boolean;
  /** Name of an earlier job, or its output folder. */
  readonly since?: string;
}

/** What scores what; all paths absolute. */
export interface ResolvedInput {
  readonly deployment: LocalDeployment;
  readonly inputPath: string;
  readonly selection: InputSelection;
}

/** And where to. */
export interface Invocation extends ResolvedInput {
  readonly outputDir: string;
  readonly isOverwrite: boolean;
  /** Name of an earlier job, or absolute path of its output folder; null: every file is scored. */
  readonly since: string | null;
}

/** @throws what loading a deployment throws; USAGE for a scale that is no number */
export async function loadWithFlags(
  context: CommandContext,
  path: string,
  flags: DeploymentFlags,
): Promise<LocalDeployment> {
  return await loadDeployment(path, loadOptions(context, flags));
}

/** What the flags come to. @throws USAGE for a scale that is no number */
export function loadOptions({ host, output }: CommandContext, flags: DeploymentFlags): LoadOptions {
  return {
    cwd: host.cwd,
    set: flags.set ?? [],
    ...(flags.miniBatchSize === undefined ? {} : { miniBatchSize: flags.miniBatchSize }),
    ...(flags.splitFiles === undefined ? {} : { splitFiles: flags.splitFiles }),
    ...(flags.format === undefined ? {} : { format: flags.format }),
    ...(flags.scale === undefined ? {} : { scale: scaleOf(flags.scale) }),
    ...(flags.model === undefined ? {} : { model: flags.model }),
    ...(flags.environment === undefined ? {} : { environment: flags.environment }),
    python: pythonSetting(flags.python, host.environment),
    isScriptUnchecked: flags.skipScriptValidation ?? false,
    onNote: (text) => output.note(`note: ${text}`),
  };
}

/** Loads the deployment and says on stderr what was resolved. @throws LOCATION_INVALID, USAGE for a reference as output, and what loading throws */
export async function resolveInvocation(
  context: CommandContext,
  path: string,
  flags: InvocationFlags,
): Promise<Invocation> {
  const { host, output } = context;
  const outputDir = inputText(flags.output, host.cwd);
  const input = await resolveInput(context, path, flags);
  output.note(`output      ${placeText(outputDir, input.deployment.settings)}`);
  const since = await sinceOf(flags.since, host.cwd);
  if (since !== null) output.note(`since       ${since}`);
  return { ...input, outputDir, isOverwrite: flags.overwrite ?? false, since };
}

/** What is a folder here is one; anything else is the name of a job. */
async function sinceOf(text: string | undefined, cwd: string): Promise<string | null> {
  if (text === undefined) return null;
  const path = resolve(cwd, text);
  const isFolder = await stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  return isFolder || text.includes('/') ? path : text;
}

/** The file of rows where there is one, else the folder. */
function placeText(outputDir: string, { outputAction, outputFileName, parts }: DeploymentSettings): string {
  const folder = outputDir.endsWith('/') ? outputDir : `${outputDir}/`;
  return outputAction === 'append_row' && (!parts || isOneFile(parts)) ? `${folder}${outputFileName}` : folder;
}

/** The same without an output. */
export async function resolveInput(context: CommandContext, path: string, flags: InputFlags): Promise<ResolvedInput> {
  const { host, output } = context;
  const list = listFrom(flags, host.cwd);
  const inputPath = list !== null && flags.input === '' ? dirname(list.path) : inputText(flags.input, host.cwd);
  const deployment = await loadWithFlags(context, path, flags);
  output.note(`deployment  ${deployment.name} (${scorerText(deployment)})`);
  const selection = { ...selectionFrom(deployment, flags), list };
  output.note(`input       ${selectionText(inputPath, selection)}`);
  return { deployment, inputPath, selection };
}

/** `/in, the files of /lists/some.csv --include '*.jpg'` */
function selectionText(inputPath: string, selection: InputSelection): string {
  const patterns = patternsText(selection);
  const list = selection.list === null ? '' : `, the files of ${selection.list.path}`;
  return `${inputPath}${list}${patterns === '' ? '' : ` ${patterns}`}`;
}

function listFrom({ inputList, inputListColumn }: SelectionFlags, cwd: string): InputList | null {
  if (inputList === undefined) {
    if (inputListColumn === undefined) return null;
    throw new BatchError('USAGE', '--input-list-column says where the paths stand in an --input-list; give that too');
  }
  const path = resolve(cwd, localPath(inputList));
  return { path, column: inputListColumn ?? inputListColumnDefault, identity: null };
}

/** Flags win over the deployment. @throws USAGE for a pattern that is none */
export function selectionFrom(deployment: LocalDeployment, flags: SelectionFlags): InputSelection {
  const selection = selectionOf(deployment.settings);
  return {
    ...selection,
    include: patternsOf('--include', flags.include) ?? selection.include,
    exclude: patternsOf('--exclude', flags.exclude) ?? selection.exclude,
  };
}

function patternsOf(flag: string, patterns: readonly string[] | undefined): readonly string[] | undefined {
  for (const pattern of patterns ?? []) {
    const problem = patternProblem(pattern);
    if (problem !== null) throw new BatchError('USAGE', `${flag}: ${JSON.stringify(pattern)} ${problem}`);
  }
  if (patterns === undefined || patterns.length <= limits.inputPatternsMax) return patterns;
  throw new BatchError(
    'USAGE',
    `${flag} is given ${patterns.length} times, wanted at most ${limits.inputPatternsMax}; join patterns with braces: '*.{jpg,png}'`,
  );
}

/** Data assets and URIs, as Azure's command line takes them, must not become folders of that name. */
function localPath(text: string): string {
  const reference = parseReference(text);
  if (reference.kind === 'path') return /^file:/i.test(text) ? reference.path : text;
  const what = referenceText(reference, 'data');
  const wanted = reference.kind === 'malformed' ? '' : ': give a local file';
  throw new BatchError('USAGE', `--input-list: ${text} ${what}${wanted}`);
}

function scaleOf(text: string): number {
  const scale = fractionOf(text);
  if (Number.isFinite(scale) && scale > 0) return scale;
  throw new BatchError(
    'USAGE',
    `--scale: wanted a number above 0, or a fraction such as 1/255, found ${JSON.stringify(text)}`,
  );
}
