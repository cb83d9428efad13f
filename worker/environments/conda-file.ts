/** Reads a conda environment file into what a plan needs to know of it. Pure: text in, facts out. */
import { parse, stringify } from 'yaml';
import { BatchError } from '../../common/core/batch-error.ts';

export interface CondaFile {
  readonly channels: readonly string[];
  /** What is asked of Python, such as `=3.8.5` or `>=3.7,<3.10`; empty: any; null: Python is not listed. */
  readonly python: string | null;
  /** `pip`, `setuptools` and `wheel` as listed. */
  readonly basics: readonly string[];
  /** All other conda packages, as listed. */
  readonly packages: readonly string[];
  /** Lines of the nested pip list: requirements and options of pip. */
  readonly pip: readonly string[];
  /** Left out: they are Azure's own runtime, of which scripts need nothing here. */
  readonly skipped: readonly string[];
}

/** @source Azure ML requires azureml-core, and documents azureml-dataset-runtime[fuse], in environments of batch endpoints */
const azureRuntime: ReadonlySet<string> = new Set(['azureml-core', 'azureml-dataset-runtime', 'azureml-defaults']);
const basicNames: ReadonlySet<string> = new Set(['pip', 'setuptools', 'wheel']);

/** @throws ENVIRONMENT_INVALID when it is no conda file */
export function readCondaFile(text: string, name: string): CondaFile {
  const root = readYaml(text, name);
  const listed = root['dependencies'] ?? [];
  if (!Array.isArray(listed)) throw invalid(name, 'dependencies', 'a list', listed);
  const conda = (listed as readonly unknown[]).filter((item): item is string => typeof item === 'string');
  const pip = (listed as readonly unknown[])
    .filter((item) => typeof item !== 'string')
    .flatMap((item) => readPip(item, name));
  const all = [...conda, ...pip].map((item) => item.trim());
  const kept = conda.map((item) => item.trim()).filter((item) => !azureRuntime.has(packageName(item)));
  const python = kept.find((item) => packageName(item) === 'python');
  return {
    channels: readStrings(root['channels'] ?? [], name, 'channels'),
    python: python === undefined ? null : versionPart(python),
    basics: kept.filter((item) => basicNames.has(packageName(item))),
    packages: kept.filter((item) => packageName(item) !== 'python' && !basicNames.has(packageName(item))),
    pip: pip.map((item) => item.trim()).filter((item) => item !== '' && !azureRuntime.has(packageName(item))),
    skipped: all.filter((item) => azureRuntime.has(packageName(item))),
  };
}

/** The file for a conda tool: without what is skipped, and with a Python even when none is listed. */
export function condaYaml(file: CondaFile): string {
  const python = file.python === null ? 'python>=3.8' : `python${file.python}`;
  const basics = file.pip.length > 0 && !file.basics.some((item) => packageName(item) === 'pip') ? ['pip'] : [];
  const conda = [python, ...basics, ...file.basics, ...file.packages];
  return stringify({
    ...(file.channels.length > 0 && { channels: file.channels }),
    dependencies: file.pip.length > 0 ? [...conda, { pip: file.pip }] : conda,
  });
}

/** `conda-forge::Azure_ML.Core[x]>=1.2` is `azure-ml-core`. @source PEP 503, the conda match specification */
export function packageName(spec: string): string {
  const bare = spec.replace(/^[\w./-]*::/, '').trim();
  return (/^[a-z0-9][\w.-]*/i.exec(bare)?.[0] ?? '').toLowerCase().replace(/[-_.]+/g, '-');
}

/** What follows the name, in one form: `=3.8.5`, `>=3.7,<3.10`; a build is left out. */
export function versionPart(spec: string): string {
  const rest = spec
    .replace(/^[\w./-]*::/, '')
    .trim()
    .replace(/^[\w.-]+(\[[^\]]*\])?/, '')
    .trim();
  // `python 3.8.* h1_0` and `python=3.8=h1_0` are the same as `python=3.8`.
  const pinned = /^(={0,2})\s*(\d[\w.*]*)(?:[=\s]\S+)?$/.exec(rest);
  return pinned ? `${pinned[1] === '==' ? '==' : '='}${pinned[2]}` : rest.replace(/\s+/g, '');
}

/** A conda package as pip is asked for it: `setuptools=65` is `setuptools==65.*`. */
export function asRequirement(spec: string): string {
  const version = versionPart(spec);
  const isLoose = /^=[^=]/.test(version);
  return `${packageName(spec)}${isLoose ? `==${version.slice(1).replace(/\.?\*$/, '')}.*` : version}`;
}

function readYaml(text: string, name: string): Readonly<Record<string, unknown>> {
  let root: unknown;
  try {
    root = parse(text);
  } catch (error) {
    throw new BatchError('ENVIRONMENT_INVALID', `${name}: the conda file is no YAML: ${String(error)}`, {
      cause: error,
    });
  }
  if (typeof root === 'object' && root !== null && !Array.isArray(root)) return root as Record<string, unknown>;
  throw invalid(name, 'the conda file', 'a mapping with dependencies', root);
}

function readPip(item: unknown, name: string): readonly string[] {
  const [key, ...others] = typeof item === 'object' && item !== null ? Object.keys(item) : [];
  if (key !== 'pip' || others.length > 0) throw invalid(name, 'dependencies', 'names, or a list under pip', item);
  return readStrings((item as { readonly pip: unknown }).pip ?? [], name, 'pip');
}

function readStrings(value: unknown, name: string, field: string): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw invalid(name, field, 'a list of texts', value);
}

function invalid(name: string, field: string, wanted: string, found: unknown): BatchError {
  return new BatchError(
    'ENVIRONMENT_INVALID',
    `${name}: ${field}: wanted ${wanted}, found ${(JSON.stringify(found) ?? 'nothing').slice(0, 80)}`,
  );
}
