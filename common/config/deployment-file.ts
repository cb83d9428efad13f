/**
 * Reads what a user calls a deployment: a `deployment.yml` as written for Azure, a folder that holds one, an `.onnx`
 * file, the folder of an MLflow model, or a scoring script. A bare model or script is read as the YAML that it stands for, so
 * there is one way from here on and `--set` reaches everything.
 */
import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { AssetLookup } from './assets.ts';
import type { LocalDeployment, Scorer } from '../core/deployment.ts';
import { guessKind, kindText } from './config-kind.ts';
import { ConfigSource } from './config-source.ts';
import { bareCodeFolder, kindAt } from './deployment-paths.ts';
import { flavorOf, resolveDeployment, scorerKindOf } from './deployment-resolve.ts';
import { parseDeployment, settingsPathOf } from './deployment-schema.ts';
import { environmentOfFlag, labelOf } from './environment-resolve.ts';
import { isMlflowFolder } from './mlflow-folder.ts';

export interface LoadOptions {
  /** `settings.mini_batch_size=20`, applied before validation; the value is YAML. Paths in it are relative to the YAML. */
  readonly set?: readonly string[];
  /** Values of the flags of the same names; they win over `set`. */
  readonly miniBatchSize?: string;
  readonly splitFiles?: string;
  readonly scale?: number;
  readonly format?: string;
  /** Path of the model, relative to `cwd`. */
  readonly model?: string;
  /** `host`, or the path of an interpreter or of a virtual environment, relative to `cwd`; wins over everything. */
  readonly environment?: string;
  /** Parses Python scripts when the environment names no interpreter. Default: `python3`. */
  readonly python?: string;
  /** Python scripts are not parsed. */
  readonly isScriptUnchecked?: boolean;
  /** Absolute; what relative paths on the command line start from. Default: the working directory. */
  readonly cwd?: string;
  /** Where `azureml:` references are looked up; absent: they are refused. */
  readonly assets?: AssetLookup;
  /** Told about what was accepted but has no effect. */
  readonly onNote?: (text: string) => void;
}

/** A file with everything laid over it that the command line says. */
export interface OpenedFile {
  readonly source: ConfigSource;
  /** Absolute. */
  readonly file: string;
  readonly isYaml: boolean;
  readonly cwd: string;
}

/**
 * The deployment at `path`, complete and with its files found.
 * @throws DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID, CONFIG_INVALID, CONFIG_UNKNOWN_KEY, ENVIRONMENT_INVALID, SCRIPT_INVALID
 */
export async function loadDeployment(path: string, options: LoadOptions = {}): Promise<LocalDeployment> {
  const opened = await openConfig(path, options);
  refuseOtherKind(opened);
  return await deploymentOf(opened, options);
}

/** What {@link loadDeployment} does with a file that is open. */
export async function deploymentOf(opened: OpenedFile, options: LoadOptions): Promise<LocalDeployment> {
  const { source, file, isYaml, cwd } = opened;
  const onNote = options.onNote ?? ((): void => undefined);
  const { environment } = options;
  return await resolveDeployment({
    source,
    baseDir: dirname(file),
    cwd,
    fallbackName: nameFor(file, isYaml),
    isBare: !isYaml,
    environment: environment === undefined ? null : await environmentOfFlag(environment, cwd, onNote),
    assets: options.assets ?? null,
    python: options.isScriptUnchecked ? null : (options.python ?? 'python3'),
    onNote,
  });
}

/** Reads the file and lays `--set` and flags over it; nothing is checked yet. */
export async function openConfig(path: string, options: LoadOptions): Promise<OpenedFile> {
  const cwd = options.cwd ?? process.cwd();
  const file = await findDeploymentFile(resolve(cwd, path), path);
  const isYaml = ['.yml', '.yaml'].includes(extname(file).toLowerCase());
  const label = labelOf(file, cwd);
  const source = new ConfigSource(isYaml ? await readText(file, label) : await bareYaml(file), label);
  for (const text of options.set ?? []) applySet(source, text);
  applyFlags(source, options, cwd);
  return { source, file, isYaml, cwd };
}

/** A file of another kind gets one answer, not one for each of its keys. */
function refuseOtherKind({ source }: OpenedFile): void {
  const value = source.toJs();
  if ('root' in parseDeployment(value)) return;
  const { kind } = guessKind(value);
  if (kind === null || kind === 'deployment') return;
  throw new BatchError(
    'DEPLOYMENT_INVALID',
    `${source.label} is ${kindText[kind]}, wanted a deployment; \`batchmill validate ${source.label}\` checks it as what it is`,
  );
}

async function findDeploymentFile(path: string, asTyped: string): Promise<string> {
  const kind = await kindAt(path);
  if (kind === null) {
    throw new BatchError(
      'DEPLOYMENT_NOT_FOUND',
      `${asTyped} does not exist; wanted a deployment.yml, an .onnx file, an MLflow model folder or a scoring script`,
    );
  }
  if (kind === 'file') return path;
  for (const name of ['deployment.yml', 'deployment.yaml']) {
    if ((await kindAt(join(path, name))) === 'file') return join(path, name);
  }
  if ((await flavorOf({ kind: 'folder', path })) !== null) return path;
  throw new BatchError(
    'DEPLOYMENT_NOT_FOUND',
    `the folder ${asTyped} holds no deployment.yml, no MLmodel, and not just one .onnx file; name the file to use`,
  );
}

async function readText(file: string, label: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new BatchError('DEPLOYMENT_NOT_FOUND', `${label} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** The YAML that a bare model or script stands for. JSON is YAML, so nothing needs quoting by hand. */
async function bareYaml(file: string): Promise<string> {
  if (extname(file).toLowerCase() === '.onnx') return JSON.stringify({ type: 'model', model: { path: file } });
  if ((await kindAt(file)) === 'folder') {
    const type = (await isMlflowFolder(file)) ? { type: 'mlflow_model' } : {};
    return JSON.stringify({ type: 'model', model: { path: file, ...type } });
  }
  const kind: Scorer['kind'] | null = scorerKindOf(file);
  if (kind === null) {
    throw new BatchError(
      'DEPLOYMENT_INVALID',
      `${file} is not something that can score: wanted a deployment.yml, an .onnx file, or a script that ends in .py, .ts, .js or .mjs`,
    );
  }
  const code = await bareCodeFolder(file);
  return JSON.stringify({ type: 'model', code_configuration: { code, scoring_script: basename(file) } });
}

/** Lays `key=value` over the document. @throws CONFIG_INVALID */
export function applySet(source: ConfigSource, text: string): void {
  const [, path = '', value = ''] = /^([^=]*)=([\s\S]*)$/.exec(text) ?? [];
  const keys = path.trim().split('.');
  if (!text.includes('=') || keys.some((key) => key === '')) {
    throw new BatchError(
      'CONFIG_INVALID',
      `--set ${text}: wanted key=value with a dotted key, such as settings.mini_batch_size=20`,
    );
  }
  source.override(keys, value, `--set ${path.trim()}`);
}

function applyFlags(source: ConfigSource, options: LoadOptions, cwd: string): void {
  const settings = settingsPathOf(source.toJs());
  const quoted = (value: string): string => JSON.stringify(value);
  if (options.miniBatchSize !== undefined) {
    source.override([...settings, 'mini_batch_size'], quoted(options.miniBatchSize), '--mini-batch-size');
  }
  if (options.splitFiles !== undefined) {
    source.override([...settings, 'split_files'], quoted(options.splitFiles), '--split-files');
  }
  if (options.format !== undefined) {
    source.override([...settings, 'output', 'format'], quoted(options.format), '--format');
  }
  if (options.scale !== undefined) {
    source.override([...settings, 'onnx', 'scale'], quoted(String(options.scale)), '--scale');
  }
  if (options.model !== undefined) source.override(['model'], quoted(resolve(cwd, options.model)), '--model');
}

/** A legal name for a deployment that has none: that of its file, or of its folder when the file is called deployment.yml. */
function nameFor(file: string, isYaml: boolean): string {
  const stem = basename(file, extname(file));
  const own = isYaml && stem.toLowerCase() === 'deployment' ? basename(dirname(file)) : stem;
  const letters = own.replaceAll(/[^a-z0-9]+/gi, '-').replace(/^[^a-z]+/i, '');
  const short = letters.slice(0, 32).replace(/-+$/, '');
  return short.length >= 3 ? short : `${short === '' ? 'model' : short}-deployment`;
}
