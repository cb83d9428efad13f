/** Flags that change a deployment, the same for `run`, `job submit` and `validate`. */
import { resolve } from 'node:path';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import { inputText } from '../../common/config/input-location.ts';
import { pythonSetting } from '../../common/config/process-settings.ts';
import { parseReference, referenceText } from '../../common/config/reference.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import type { CommandContext } from '../command-context.ts';
import { scorerText } from '../job-text.ts';

export interface DeploymentFlags {
  readonly set?: readonly string[];
  readonly miniBatchSize?: string;
  readonly scale?: string;
  readonly format?: string;
  readonly model?: string;
  readonly environment?: string;
  readonly skipScriptValidation?: boolean;
  /** Of `run` alone. */
  readonly python?: string;
}

export interface InvocationFlags extends DeploymentFlags {
  readonly input: string;
  readonly output: string;
  readonly overwrite?: boolean;
}

/** What is to be scored, where from and where to; paths are absolute. */
export interface Invocation {
  readonly deployment: LocalDeployment;
  readonly inputPath: string;
  readonly outputDir: string;
  readonly isOverwrite: boolean;
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
  const inputPath = inputText(flags.input, host.cwd);
  const outputDir = resolve(host.cwd, localPath(flags.output));
  const deployment = await loadWithFlags(context, path, flags);
  output.note(`deployment  ${deployment.name} (${scorerText(deployment)})`);
  output.note(`input       ${inputPath}`);
  output.note(`output      ${resolve(outputDir, deployment.settings.outputFileName)}`);
  return { deployment, inputPath, outputDir, isOverwrite: flags.overwrite ?? false };
}

/** Data assets and URIs, as Azure's command line takes them, must not become folders of that name. */
function localPath(text: string): string {
  const reference = parseReference(text);
  if (reference.kind === 'path') return /^file:/i.test(text) ? reference.path : text;
  const what = referenceText(reference, 'data');
  const advice = reference.kind === 'malformed' ? '' : ', which cannot be written from here: give a local folder';
  throw new BatchError('USAGE', `--output: ${text} ${what}${advice}`);
}

function scaleOf(text: string): number {
  const scale = Number(text);
  if (text.trim() !== '' && Number.isFinite(scale) && scale > 0) return scale;
  throw new BatchError('USAGE', `--scale: wanted a number above 0, such as 0.00392157, found ${JSON.stringify(text)}`);
}
