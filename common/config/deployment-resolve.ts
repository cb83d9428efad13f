/** From a YAML that has the right keys to a deployment in which nothing is optional. */
import { basename, extname } from 'node:path';
import type { DeploymentSettings, LocalArtifact, LocalDeployment, OutputFormat, Scorer } from '../core/deployment.ts';
import { invariant } from '../core/invariant.ts';
import { limits } from '../core/limits.ts';
import type { ConfigProblem, ConfigSource } from './config-source.ts';
import { findArtifact, findScript, kindAt } from './deployment-paths.ts';
import { resolveOnnx } from './onnx-settings-schema.ts';
import { parseDeployment, type ParsedDeployment } from './deployment-schema.ts';

export interface ResolveContext {
  readonly source: ConfigSource;
  /** The YAML's own folder, absolute. */
  readonly baseDir: string;
  readonly fallbackName: string;
  /** A bare model or script: nobody chose Azure's defaults, so ours hold. */
  readonly isBare: boolean;
  readonly onNote: (text: string) => void;
}

const scriptKinds: Readonly<Record<string, 'python' | 'node'>> = {
  '.py': 'python',
  '.ts': 'node',
  '.mts': 'node',
  '.js': 'node',
  '.mjs': 'node',
  '.cjs': 'node',
};

/** What runs a script of this name; null when nothing does. */
export function scorerKindOf(script: string): 'python' | 'node' | null {
  return scriptKinds[extname(script).toLowerCase()] ?? null;
}

/** @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY, DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID with every problem listed */
export async function resolveDeployment(context: ResolveContext): Promise<LocalDeployment> {
  const { source } = context;
  const parsed = parseDeployment(source.toJs());
  if (!('root' in parsed)) throw source.toError(parsed);
  const problems: ConfigProblem[] = [...checkTogether(parsed)];
  const model = await findModel(parsed, context, problems);
  const code = await findCode(parsed, context, problems);
  await checkEnvironment(parsed, context, problems);
  const scorer = await chooseScorer(parsed, model, code, context.baseDir, problems);
  if (problems.length > 0) throw source.toError(problems);
  invariant(scorer !== null, 'a deployment without problems has a scorer');
  if (scorer.kind === 'python' && parsed.root.environment) {
    context.onNote('environment is not built yet: the script runs in the Python that the worker node has (--python)');
  }
  return {
    name: parsed.root.name ?? context.fallbackName,
    scorer,
    model,
    code: code?.folder ?? null,
    environment: { kind: 'host', python: null },
    settings: resolveSettings(parsed, scorer, source, context.isBare),
  };
}

interface FoundCode {
  readonly folder: LocalArtifact;
  readonly script: string;
}

async function findModel(
  { root }: ParsedDeployment,
  context: ResolveContext,
  problems: ConfigProblem[],
): Promise<LocalArtifact | null> {
  if (!root.model) return null;
  const { path } = root.model;
  if (path) {
    const key = context.source.textAt(['model']) === null ? ['model', 'path'] : ['model'];
    return await findArtifact({ key, value: path, baseDir: context.baseDir, wanted: 'file or folder' }, problems);
  }
  const message = 'model: wanted path, the model’s local file or folder (registered models are not there yet)';
  problems.push({ code: 'CONFIG_INVALID', path: ['model'], at: 'key', message });
  return null;
}

async function findCode(
  { root }: ParsedDeployment,
  { baseDir }: ResolveContext,
  problems: ConfigProblem[],
): Promise<FoundCode | null> {
  const given = root.code_configuration;
  if (!given) return null;
  const key = ['code_configuration'];
  const script = given.scoring_script;
  if (!given.code || !script) {
    const missing = given.code ? 'scoring_script' : 'code';
    const message = `code_configuration: wanted both code and scoring_script, found no ${missing}`;
    problems.push({ code: 'CONFIG_INVALID', path: key, at: 'key', message });
    return null;
  }
  const folder = await findArtifact({ key: [...key, 'code'], value: given.code, baseDir, wanted: 'folder' }, problems);
  if (!folder) return null;
  const relative = await findScript(script, folder.path, [...key, 'scoring_script'], problems);
  return relative === null ? null : { folder, script: relative };
}

/** A conda file that is not there is a mistake today already, although nothing is built from it. */
async function checkEnvironment(
  { root }: ParsedDeployment,
  { baseDir }: ResolveContext,
  problems: ConfigProblem[],
): Promise<void> {
  const file = root.environment?.conda_file;
  if (typeof file !== 'string') return;
  await findArtifact({ key: ['environment', 'conda_file'], value: file, baseDir, wanted: 'file' }, problems);
}

async function chooseScorer(
  parsed: ParsedDeployment,
  model: LocalArtifact | null,
  code: FoundCode | null,
  baseDir: string,
  problems: ConfigProblem[],
): Promise<Scorer | null> {
  const { root, settings, settingsPath } = parsed;
  const fail = (path: readonly string[], message: string, code: ConfigProblem['code'] = 'DEPLOYMENT_INVALID'): null => {
    problems.push({ code, path, at: 'key', message });
    return null;
  };
  if (code) {
    const [setting] = Object.keys(settings.onnx ?? {});
    if (setting !== undefined) {
      const text = `${setting} is for the built-in ONNX scorer, but code_configuration names a script`;
      return fail([...settingsPath, 'onnx', setting], text, 'CONFIG_INVALID');
    }
    const kind = scorerKindOf(code.script);
    if (kind) return { kind, script: code.script };
    const key = ['code_configuration', 'scoring_script'];
    return fail(key, `${key.join('.')}: wanted a script that ends in .py, .ts, .js or .mjs, found ${code.script}`);
  }
  if (root.code_configuration || (root.model && !model)) return null;
  if (model === null) return fail([], 'nothing to score with: wanted model (an .onnx file) or code_configuration');
  if (model.kind === 'file' && extname(model.path).toLowerCase() === '.onnx')
    return {
      kind: 'onnx',
      settings: await resolveOnnx(settings.onnx ?? {}, [...settingsPath, 'onnx'], baseDir, problems),
    };
  const isMlflow = root.model?.type === 'mlflow_model' || (await kindAt(`${model.path}/MLmodel`)) === 'file';
  const what = isMlflow ? 'an MLflow model' : basename(model.path);
  return fail(['model'], `model: ${what} needs a scoring script: give code_configuration with code and scoring_script`);
}

/** Rules between keys. */
function checkTogether({ root, settings, settingsPath }: ParsedDeployment): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const fail = (key: string, message: string): void => {
    problems.push({ code: 'CONFIG_INVALID', path: [...settingsPath, key], at: 'key', message });
  };
  if (settings.output_action === 'summary_only' && settings.output_file_name) {
    fail('output_file_name', 'output_file_name has no meaning with output_action: summary_only; remove one of them');
  }
  if (settingsPath.length === 0 && root.resources && settings.instance_count) {
    fail('instance_count', 'instance_count is given twice: keep either it or resources.instance_count');
  }
  return problems;
}

function resolveSettings(
  { root, settings, settingsPath }: ParsedDeployment,
  scorer: Scorer,
  source: ConfigSource,
  isBare: boolean,
): DeploymentSettings {
  const outputFormat: OutputFormat = settings.output?.format ?? (scorer.kind === 'onnx' ? 'csv' : 'azure');
  const outputAction = settings.output_action ?? 'append_row';
  const fileName = settings.output_file_name ?? (outputFormat === 'jsonl' ? 'predictions.jsonl' : 'predictions.csv');
  const retry = settings.retry_settings ?? {};
  return {
    miniBatchSize:
      settings.mini_batch_size ?? (isBare ? { kind: 'auto' } : { kind: 'files', files: limits.miniBatchFilesDefault }),
    triesMax: Math.max(1, retry.max_retries ?? limits.maxRetriesDefault),
    timeoutMs: retry.timeout ?? (isBare ? limits.bareTimeoutMsDefault : limits.timeoutMsDefault),
    errorThreshold: settings.error_threshold ?? -1,
    isolation: settings.isolation ?? 'file',
    outputAction,
    outputFileName: outputAction === 'summary_only' ? '' : fileName,
    outputFormat,
    loggingLevel: settings.logging_level ?? 'info',
    environmentVariables: asTyped(
      settings.environment_variables ?? {},
      [...settingsPath, 'environment_variables'],
      source,
    ),
    instanceCountMax: root.resources?.instance_count ?? settings.instance_count ?? null,
    concurrencyPerInstanceMax: settings.max_concurrency_per_instance ?? null,
    recursive: settings.input?.recursive ?? true,
    customOutput: 'collected',
    memoryBytesMax: null,
  };
}

/** Values as they stand in the file: an unquoted 1.10 reaches the script as `1.10`, not as `1.1`. */
function asTyped(
  values: Readonly<Record<string, string>>,
  path: readonly string[],
  source: ConfigSource,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(values).map(([k, v]) => [k, source.textAt([...path, k]) ?? v]));
}
