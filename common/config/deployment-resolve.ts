/** From a YAML that has the right keys to a deployment in which nothing is optional. */
import { readdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type {
  DeploymentSettings,
  EnvironmentSpec,
  ArtifactSource,
  LocalArtifact,
  LocalDeployment,
  Scorer,
} from '../core/deployment.ts';
import { invariant } from '../core/invariant.ts';
import { limits } from '../core/limits.ts';
import { rowsOfFormat } from '../core/parts-form.ts';
import { pythonMinorOf } from './conda-file.ts';
import type { ConfigProblem, ConfigSource } from './config-source.ts';
import { lookedUp, ownAsset, type AssetLookup, type KnownModel } from './assets.ts';
import { findArtifact, findScript } from './deployment-paths.ts';
import { parseReference } from './reference.ts';
import { resolveOnnx } from './onnx-settings-schema.ts';
import { resolveOutputForm } from './output-settings.ts';
import { fittingName, outputNameOf, resolveParts } from './parts-settings.ts';
import { parseDeployment, type ParsedDeployment } from './deployment-schema.ts';
import { hostEnvironment, labelOf, resolveEnvironment } from './environment-resolve.ts';
import { isMlflowFolder, readMlflowEnvironment } from './mlflow-folder.ts';
import { checkScript } from './script-check.ts';

export interface ResolveContext {
  readonly source: ConfigSource;
  /** The YAML's own folder, absolute. */
  readonly baseDir: string;
  /** What relative paths in messages start from. */
  readonly cwd: string;
  readonly fallbackName: string;
  /** A bare model or script: nobody chose Azure's defaults, so ours hold. */
  readonly isBare: boolean;
  /** What `--environment` says; wins over the file. */
  readonly environment: EnvironmentSpec | null;
  /** Reads scripts in Python when the environment names no interpreter of this machine; null: scripts are not checked. */
  readonly python: string | null;
  readonly onNote: (text: string) => void;
  /** Where references to registered assets are looked up; null: they are refused. */
  readonly assets: AssetLookup | null;
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

/** @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY, DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID, ENVIRONMENT_INVALID, SCRIPT_INVALID with every problem listed */
export async function resolveDeployment(context: ResolveContext): Promise<LocalDeployment> {
  const { source } = context;
  const parsed = parseDeployment(source.toJs());
  if (!('root' in parsed)) throw source.toError(parsed);
  const problems: ConfigProblem[] = [...checkTogether(parsed)];
  const model = await findModel(parsed, context, problems);
  const code = await findCode(parsed, context, problems);
  const scorer = await chooseScorer(parsed, model, code, context.baseDir, problems);
  if (scorer !== null) problems.push(...checkForScorer(parsed, scorer));
  const output = resolveOutput(parsed, scorer, problems);
  const environment = await chooseEnvironment(parsed, scorer, model, context, problems);
  if (scorer?.kind === 'python' && code) await checkSyntax(code, environment, context, problems);
  if (problems.length > 0) throw source.toError(problems);
  invariant(scorer !== null && environment !== null, 'a deployment without problems has a scorer and an environment');
  return {
    name: parsed.root.name ?? context.fallbackName,
    scorer,
    model: model?.source ?? null,
    code: code?.folder ?? null,
    environment,
    settings: { ...resolveSettings(parsed, source, context.isBare), ...output },
  };
}

/**
 * The same deployment under other settings: those of `source`, a YAML in which nothing else has changed.
 * @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY
 */
export function withSettingsOf<D extends LocalDeployment>(source: ConfigSource, deployment: D): D {
  const parsed = parseDeployment(source.toJs());
  if (!('root' in parsed)) throw source.toError(parsed);
  const { scorer } = deployment;
  const problems: ConfigProblem[] = [...checkTogether(parsed), ...checkForScorer(parsed, scorer)];
  const output = resolveOutput(parsed, scorer, problems);
  if (problems.length > 0) throw source.toError(problems);
  return { ...deployment, settings: { ...resolveSettings(parsed, source, false), ...output } };
}

interface FoundCode {
  readonly folder: LocalArtifact;
  readonly script: string;
}

/** A model with what its files tell of how it can be scored. */
interface FoundModel {
  readonly source: ArtifactSource;
  /** Of its file or folder. */
  readonly name: string;
  /** As the file or the registry has it. */
  readonly type: KnownModel['type'] | null;
  readonly flavor: KnownModel['flavor'];
  /** What a registered MLflow model brings along; null: it is to be read, or there is none. */
  readonly environment: EnvironmentSpec | null;
}

async function findModel(
  { root }: ParsedDeployment,
  context: ResolveContext,
  problems: ConfigProblem[],
): Promise<FoundModel | null> {
  if (!root.model) return null;
  const { path } = root.model;
  if (path) {
    const key = context.source.textAt(['model']) === null ? ['model', 'path'] : ['model'];
    const { baseDir, assets } = context;
    const asset = ownAsset(parseReference(path), assets);
    if (asset && assets) {
      const known = await lookedUp(assets.model, asset, key, problems);
      return known && registered(known);
    }
    const request = { key, value: path, baseDir, wanted: 'file or folder', about: 'model' } as const;
    const local = await findArtifact(request, problems);
    return local && (await lookedAt(local, root.model.type ?? null));
  }
  const message = 'model: wanted path, the model’s local file or folder; or say --model PATH';
  problems.push({ code: 'CONFIG_INVALID', path: ['model'], at: 'key', message });
  return null;
}

function registered(known: KnownModel): FoundModel {
  const { artifact, type, flavor, environment } = known;
  const source = { ...artifact, asset: `azureml:${known.name}:${known.version}` };
  return { source, name: artifact.name, type, flavor, environment };
}

async function lookedAt(local: LocalArtifact, type: FoundModel['type']): Promise<FoundModel> {
  return { source: local, name: basename(local.path), type, flavor: await flavorOf(local), environment: null };
}

/** What can score a model's file or folder without a script; null: nothing. */
export async function flavorOf({ kind, path }: LocalArtifact): Promise<KnownModel['flavor']> {
  if (kind === 'file') return isOnnx(path) ? 'onnx' : null;
  if (await isMlflowFolder(path)) return 'mlflow';
  return flavorOfNames(await readdir(path));
}

/** The same for a folder with these names in it: a single `.onnx` may have its weights in files beside it. */
export function flavorOfNames(names: readonly string[]): KnownModel['flavor'] {
  if (names.includes('MLmodel')) return 'mlflow';
  return names.filter(isOnnx).length === 1 ? 'onnx' : null;
}

const isOnnx = (path: string): boolean => extname(path).toLowerCase() === '.onnx';

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
  const request = { key: [...key, 'code'], value: given.code, baseDir, wanted: 'folder', about: 'code' } as const;
  const folder = await findArtifact(request, problems);
  if (!folder) return null;
  const relative = await findScript(script, folder.path, [...key, 'scoring_script'], problems);
  return relative === null ? null : { folder, script: relative };
}

/** `--environment`, else the file's own, else what an MLflow model brings along, else the worker node's Python. */
async function chooseEnvironment(
  { root }: ParsedDeployment,
  scorer: Scorer | null,
  model: FoundModel | null,
  context: ResolveContext,
  problems: ConfigProblem[],
): Promise<EnvironmentSpec | null> {
  const isNeeded = scorer === null || scorer.kind === 'python' || scorer.kind === 'mlflow';
  if (context.environment !== null) return isNeeded ? context.environment : hostEnvironment;
  if (root.environment) {
    const { source, baseDir, cwd, onNote, assets } = context;
    const request = { raw: root.environment, source, at: ['environment'], baseDir, cwd, isNeeded, onNote, assets };
    const environment = await resolveEnvironment(request, problems);
    return isNeeded ? environment : environment && hostEnvironment;
  }
  if (scorer?.kind === 'mlflow' && model) {
    if (!('path' in model.source)) return model.environment ?? hostEnvironment;
    const { cwd, onNote } = context;
    const key = context.source.textAt(['model']) === null ? ['model', 'path'] : ['model'];
    return await readMlflowEnvironment({ folder: model.source.path, key, cwd, onNote }, problems);
  }
  if (scorer?.kind === 'python' && (model?.type === 'mlflow_model' || model?.flavor === 'mlflow')) {
    context.onNote(
      'an MLflow model with a script and without environment: the script runs in the worker node’s own Python (Azure refuses this)',
    );
  }
  return hostEnvironment;
}

/** @source Azure ML: a script is parsed when its deployment is created */
async function checkSyntax(
  code: FoundCode,
  environment: EnvironmentSpec | null,
  { python, onNote, cwd }: ResolveContext,
  problems: ConfigProblem[],
): Promise<void> {
  if (python === null) return;
  const own = environment?.kind === 'host' ? environment.python : null;
  const file = join(code.folder.path, code.script);
  let check = await checkScript(file, own ?? python);
  if (check.kind === 'skipped' && own !== null) check = await checkScript(file, python);
  if (check.kind === 'skipped') {
    onNote(`${code.script} is not checked for syntax: ${check.reason}`);
    return;
  }
  if (check.kind === 'fine') return;
  const where = `${labelOf(file, cwd)}:${check.line}:${check.column}: ${check.message}: ${check.text}`;
  const wanted = environment?.kind === 'conda' ? pythonMinorOf(environment.conda) : null;
  if (wanted !== null && wanted > check.minor) {
    onNote(
      `${where} (as Python 3.${check.minor} reads it; the environment has 3.${wanted}, which may read it otherwise)`,
    );
    return;
  }
  const key = ['code_configuration', 'scoring_script'];
  const message = `${key.join('.')}: ${where} (as Python 3.${check.minor} reads it; --skip-script-validation goes on all the same)`;
  problems.push({ code: 'SCRIPT_INVALID', path: key, at: 'value', message });
}

async function chooseScorer(
  parsed: ParsedDeployment,
  model: FoundModel | null,
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
  const { type } = model;
  // A folder for another server may hold one too.
  const isOther = model.source.kind === 'folder' && (type === 'mlflow_model' || type === 'triton_model');
  if (model.flavor === 'onnx' && !isOther)
    return {
      kind: 'onnx',
      settings: await resolveOnnx(settings.onnx ?? {}, [...settingsPath, 'onnx'], baseDir, problems),
    };
  const isMlflow = model.flavor === 'mlflow';
  if (isMlflow && (type === 'mlflow_model' || type === null))
    return { kind: 'mlflow', rowsPerPredict: settings.mlflow?.rows_per_predict ?? null };
  if (type === 'mlflow_model') {
    const message = `model: wanted an MLflow model, a folder with a file MLmodel in it, found ${'path' in model.source ? model.source.path : model.name}`;
    return fail(['model'], message);
  }
  const what = isMlflow ? `${type}` : type === 'triton_model' ? 'a Triton model' : model.name;
  const hint = isMlflow ? ', or type: mlflow_model' : '';
  return fail(
    ['model'],
    `model: ${what} needs a scoring script: give code_configuration with code and scoring_script${hint}`,
  );
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
  const hasResources = Object.entries(root.resources ?? {}).some(([key, value]) => key !== 'memory' && value !== null);
  if (settingsPath.length === 0 && hasResources && settings.instance_count) {
    fail('instance_count', 'instance_count is given twice: keep either it or resources.instance_count');
  }
  if (root.resources?.memory && settings.resources?.memory) {
    fail('resources', 'resources.memory is given twice: keep either it or settings.resources.memory');
  }
  return problems;
}

/** Knobs of one scorer that another one would not heed. */
function checkForScorer({ settings, settingsPath }: ParsedDeployment, scorer: Scorer): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const fail = (path: readonly string[], message: string): void => {
    problems.push({ code: 'CONFIG_INVALID', path: [...settingsPath, ...path], at: 'key', message });
  };
  if (scorer.kind !== 'mlflow' && settings.mlflow?.rows_per_predict) {
    const message = 'rows_per_predict is for MLflow models without a script, and this deployment is scored otherwise';
    fail(['mlflow', 'rows_per_predict'], message);
  }
  const isScript = scorer.kind === 'python' || scorer.kind === 'node';
  if (isScript && settings.split_files?.kind === 'bytes') {
    const message =
      'split_files: a script is given paths and opens its files itself, so they stay whole; wanted auto or off. ' +
      'Models without a script (.onnx, MLflow) read tables in parts';
    fail(['split_files'], message);
  }
  if (settings.output?.include?.input) {
    const wanted = 'include: input is for tables that are read for a model (.onnx, or MLflow without a script)';
    const isImage = scorer.kind === 'onnx' && Object.values(settings.onnx?.image ?? {}).some((value) => value !== null);
    if (isScript) {
      fail(['output', 'include'], `${wanted}; a script gives the columns itself: return them with the others`);
    } else if (isImage) {
      fail(['output', 'include'], `${wanted}; this one is fed images (settings.onnx.image), which have no columns`);
    }
  }
  return problems;
}

type OutputSettings = Pick<
  DeploymentSettings,
  'outputAction' | 'outputFileName' | 'outputFormat' | 'outputForm' | 'parts' | 'customOutput'
>;

function resolveOutput(
  { settings, settingsPath }: ParsedDeployment,
  scorer: Scorer | null,
  problems: ConfigProblem[],
): OutputSettings {
  const output = settings.output ?? {};
  const format = output.format ?? (scorer?.kind === 'onnx' ? 'csv' : 'azure');
  const form = resolveOutputForm(output, format, [...settingsPath, 'output'], problems);
  const outputAction = settings.output_action ?? 'append_row';
  const isSummaryOnly = outputAction === 'summary_only';
  const named = settings.output_file_name ?? null;
  const hasFileName = named !== null;
  const parts = resolveParts(output, { format, form, isSummaryOnly, settingsPath, hasFileName }, problems);
  return {
    outputAction,
    outputFileName: isSummaryOnly ? '' : named === null ? outputNameOf(format, parts) : fittingName(format, named),
    outputFormat: rowsOfFormat(format),
    outputForm: form,
    parts,
    customOutput: output.custom ?? 'collected',
  };
}

function resolveSettings(
  { root, settings, settingsPath }: ParsedDeployment,
  source: ConfigSource,
  isBare: boolean,
): Omit<DeploymentSettings, keyof OutputSettings> {
  const retry = settings.retry_settings ?? {};
  return {
    miniBatchSize:
      settings.mini_batch_size ?? (isBare ? { kind: 'auto' } : { kind: 'files', files: limits.miniBatchFilesDefault }),
    splitFiles: settings.split_files ?? { kind: 'auto' },
    triesMax: Math.max(1, retry.max_retries ?? limits.maxRetriesDefault),
    timeoutMs: retry.timeout ?? (isBare ? limits.bareTimeoutMsDefault : limits.timeoutMsDefault),
    errorThreshold: settings.error_threshold ?? -1,
    isolation: settings.isolation ?? 'file',
    loggingLevel: settings.logging_level ?? 'info',
    environmentVariables: asTyped(
      settings.environment_variables ?? {},
      [...settingsPath, 'environment_variables'],
      source,
    ),
    instanceCountMax: root.resources?.instance_count ?? settings.instance_count ?? null,
    concurrencyPerInstanceMax: settings.max_concurrency_per_instance ?? null,
    recursive: settings.input?.recursive ?? true,
    include: settings.input?.include ?? [],
    exclude: settings.input?.exclude ?? [],
    incremental: settings.input?.incremental ?? false,
    memoryBytesMax: settings.resources?.memory ?? root.resources?.memory ?? null,
    gpu: settings.resources?.gpu ?? root.resources?.gpu ?? null,
    ...requiredOf(settings.resources?.require ?? root.resources?.require ?? {}),
    keepWarm: settings.resources?.keep_warm ?? root.resources?.keep_warm ?? null,
    speculation: settings.speculation ?? 'auto',
    progressTimeoutMs: settings.progress_update_timeout ?? null,
  };
}

function requiredOf(require: Readonly<Record<string, string>>): Pick<DeploymentSettings, 'require'> {
  return Object.keys(require).length === 0 ? {} : { require };
}

/** Values as they stand in the file: an unquoted 1.10 reaches the script as `1.10`, not as `1.1`. */
function asTyped(
  values: Readonly<Record<string, string>>,
  path: readonly string[],
  source: ConfigSource,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(values).map(([k, v]) => [k, source.textAt([...path, k]) ?? v]));
}
