/**
 * Reads what a user calls a deployment: a `deployment.yml` as written for Azure, a folder that holds one, an `.onnx`
 * file, or a scoring script. A bare model or script is read as the YAML that it stands for, so there is one way from
 * here on and `--set` reaches everything.
 */
import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { LocalDeployment, Scorer } from '../core/deployment.ts';
import { ConfigSource } from './config-source.ts';
import { bareCodeFolder, kindAt } from './deployment-paths.ts';
import { resolveDeployment, scorerKindOf } from './deployment-resolve.ts';
import { settingsPathOf } from './deployment-schema.ts';

export interface LoadOptions {
  /** `settings.mini_batch_size=20`, applied before validation; the value is YAML. Paths in it are relative to the YAML. */
  readonly set?: readonly string[];
  /** Values of the flags of the same names; they win over `set`. */
  readonly miniBatchSize?: string;
  readonly scale?: number;
  /** Path of the model, relative to `cwd`. */
  readonly model?: string;
  /** Absolute; what relative paths on the command line start from. Default: the working directory. */
  readonly cwd?: string;
  /** Told about what was accepted but has no effect. */
  readonly onNote?: (text: string) => void;
}

/**
 * The deployment at `path`, complete and with its files found.
 * @throws DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID, CONFIG_INVALID, CONFIG_UNKNOWN_KEY
 */
export async function loadDeployment(path: string, options: LoadOptions = {}): Promise<LocalDeployment> {
  const cwd = options.cwd ?? process.cwd();
  const file = await findDeploymentFile(resolve(cwd, path), path);
  const isYaml = ['.yml', '.yaml'].includes(extname(file).toLowerCase());
  const label = relative(cwd, file).startsWith('../..') ? file : relative(cwd, file);
  const source = new ConfigSource(isYaml ? await readText(file, label) : await bareYaml(file), label);
  for (const text of options.set ?? []) applySet(source, text);
  applyFlags(source, options, cwd);
  return await resolveDeployment({
    source,
    baseDir: dirname(file),
    fallbackName: nameFor(file, isYaml),
    isBare: !isYaml,
    onNote: options.onNote ?? (() => undefined),
  });
}

async function findDeploymentFile(path: string, asTyped: string): Promise<string> {
  const kind = await kindAt(path);
  if (kind === null) {
    throw new BatchError(
      'DEPLOYMENT_NOT_FOUND',
      `${asTyped} does not exist; wanted a deployment.yml, an .onnx file or a scoring script`,
    );
  }
  if (kind === 'file') return path;
  for (const name of ['deployment.yml', 'deployment.yaml']) {
    if ((await kindAt(join(path, name))) === 'file') return join(path, name);
  }
  throw new BatchError('DEPLOYMENT_NOT_FOUND', `the folder ${asTyped} holds no deployment.yml; name the file to use`);
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

function applySet(source: ConfigSource, text: string): void {
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
