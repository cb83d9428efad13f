/**
 * From the environment that a job asks for to the commands that make it on this node, as plain data: a test can print it,
 * `build-environment.ts` carries it out. Pure.
 */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { CondaSpec, EnvironmentSpec } from '../../common/core/deployment.ts';
import { unreachable } from '../../common/core/invariant.ts';
import { asRequirement, condaYaml, packageName, readCondaFile, versionPart, type CondaFile } from './conda-file.ts';
import { chooseInterpreter, formatVersion, type Interpreter } from './python-version.ts';

/** What the node has to make environments with. Paths are absolute. */
export interface NodeTools {
  readonly conda: { readonly kind: 'micromamba' | 'mamba' | 'conda'; readonly path: string } | null;
  readonly uv: string | null;
  /** The node's own interpreter first. */
  readonly interpreters: readonly Interpreter[];
  readonly apptainer: string | null;
  readonly docker: string | null;
}

export interface BuildStep {
  /** What people are told while it runs: `installing (pip)`. */
  readonly phase: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** How a host runs in what was built. */
export type Runner =
  | { readonly kind: 'venv' | 'conda'; readonly dir: string; readonly python: string }
  /** Inside of a container; `image` is a file that was pulled, or one that the deployment names. */
  | { readonly kind: 'apptainer'; readonly apptainer: string; readonly image: string };

export interface EnvironmentPlan {
  /** What people call it. */
  readonly name: string;
  readonly tool: 'micromamba' | 'mamba' | 'conda' | 'uv' | 'pip' | 'apptainer';
  /** Written before the first step. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
  /** In order; none when nothing is to be made. */
  readonly steps: readonly BuildStep[];
  readonly runner: Runner;
  /** Said in the node's log. */
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

/** Where an environment is to lie: a folder of its own, and a stem for files beside it. Absolute. */
export interface BuildPlace {
  readonly dir: string;
}

export type BuiltSpec = Exclude<EnvironmentSpec, { readonly kind: 'host' }>;

/** @throws ENVIRONMENT_INVALID, ENVIRONMENT_UNSUPPORTED with the tools that would do */
export function planEnvironment(spec: BuiltSpec, tools: NodeTools, place: BuildPlace): EnvironmentPlan {
  switch (spec.kind) {
    case 'conda':
      return planConda(spec.conda, tools, place);
    case 'image':
      return planImage(spec.image, spec.conda, tools, place);
    default:
      return unreachable(spec);
  }
}

function planConda(spec: CondaSpec, tools: NodeTools, place: BuildPlace): EnvironmentPlan {
  const file = readCondaFile(spec.yaml, spec.name);
  const notes =
    file.skipped.length === 0
      ? []
      : [`${file.skipped.join(', ')} left out: scripts need nothing of Azure’s runtime here`];
  if (tools.conda) return { ...planCondaTool(spec.name, file, tools.conda, place), notes };
  if (file.packages.length > 0) throw needsConda(spec.name, file);
  const plan = planVenv(spec.name, file, tools, place);
  return { ...plan, notes: [...notes, ...plan.notes] };
}

function planCondaTool(
  name: string,
  file: CondaFile,
  tool: NonNullable<NodeTools['conda']>,
  { dir }: BuildPlace,
): EnvironmentPlan {
  const listing = `${dir}.yml`;
  const create = tool.kind === 'micromamba' ? ['create', '--yes'] : ['env', 'create'];
  return {
    name,
    tool: tool.kind,
    files: [{ path: listing, text: condaYaml(file) }],
    steps: [
      {
        phase: `installing (${tool.kind})`,
        command: tool.path,
        args: [...create, '--prefix', dir, '--file', listing],
      },
    ],
    runner: { kind: 'conda', dir, python: join(dir, 'bin', 'python') },
    notes: [],
    warnings: [],
  };
}

function planVenv(name: string, file: CondaFile, tools: NodeTools, { dir }: BuildPlace): EnvironmentPlan {
  const { uv } = tools;
  const choice = chooseInterpreter(
    file.python,
    tools.interpreters.filter(({ hasVenv }) => uv !== null || hasVenv),
  );
  if (choice === null) throw noInterpreter(name, tools);
  const { interpreter, wanted, isSameMinor } = choice;
  const found = formatVersion(interpreter.version);
  // Releases of these that fit an old Python may not run on a newer one at all.
  const isPinKept = wanted === null || isSameMinor;
  const pinned = file.basics.filter((item) => versionPart(item) !== '');
  const basics = file.basics
    .filter((item) => packageName(item) !== 'pip' || (uv === null && isPinKept && versionPart(item) !== ''))
    .map((item) => (isPinKept ? asRequirement(item) : packageName(item)));
  const requirements = `${dir}.requirements.txt`;
  const python = join(dir, 'bin', 'python');
  const tool = uv === null ? 'pip' : 'uv';
  const installer =
    uv === null
      ? { command: python, args: ['-m', 'pip', 'install', '--no-input'] }
      : { command: uv, args: ['pip', 'install', '--python', python] };
  const install = (args: readonly string[]): BuildStep => ({
    phase: `installing (${tool})`,
    command: installer.command,
    args: [...installer.args, ...args],
  });
  return {
    name,
    tool,
    files: [{ path: requirements, text: file.pip.map((line) => `${line}\n`).join('') }],
    steps: [
      uv === null
        ? { phase: 'making (venv)', command: interpreter.path, args: ['-m', 'venv', '--clear', dir] }
        : { phase: 'making (uv)', command: uv, args: ['venv', '--no-project', '--python', interpreter.path, dir] },
      ...(basics.length > 0 ? [install(basics)] : []),
      ...(file.pip.length > 0 ? [install(['-r', requirements])] : []),
    ],
    runner: { kind: 'venv', dir, python },
    notes: [
      ...(!isPinKept && pinned.length > 0 ? [`${pinned.join(', ')} is not held to: it belongs to another Python`] : []),
    ],
    warnings:
      wanted === null
        ? []
        : [
            `environment ${name} asks for Python ${wanted}; this node has ${found} (${interpreter.path}), which is used`,
          ],
  };
}

function planImage(image: string, conda: CondaSpec | null, tools: NodeTools, place: BuildPlace): EnvironmentPlan {
  if (conda !== null) {
    // Azure's base images hold an operating system and conda, no packages of the script: the file says all that it needs.
    const plan = planConda(conda, tools, place);
    return { ...plan, notes: [...plan.notes, `the image ${image} is not used: its conda file is built on this node`] };
  }
  if (tools.apptainer === null) throw noContainers(image, tools);
  const isLocal = image.startsWith('/') || image.endsWith('.sif');
  const pulled = join(place.dir, 'image.sif');
  const reference = image.includes('://') ? image : `docker://${image}`;
  return {
    name: image,
    tool: 'apptainer',
    files: [],
    steps: isLocal
      ? []
      : [{ phase: 'pulling (apptainer)', command: tools.apptainer, args: ['pull', pulled, reference] }],
    runner: { kind: 'apptainer', apptainer: tools.apptainer, image: isLocal ? image : pulled },
    notes: [],
    warnings: [],
  };
}

function needsConda(name: string, file: CondaFile): BatchError {
  return new BatchError(
    'ENVIRONMENT_UNSUPPORTED',
    `environment ${name} lists conda packages (${file.packages.join(', ')}), and this worker node has no micromamba, ` +
      'mamba or conda: install one (PATH, or BATCHMILL_CONDA names it), or move the packages that PyPI has under ' +
      '`pip:`, which needs Python alone',
  );
}

function noInterpreter(name: string, tools: NodeTools): BatchError {
  const found = tools.interpreters.map(
    ({ path, version, hasVenv }) => `${path} is ${formatVersion(version)}${hasVenv ? '' : ' without venv'}`,
  );
  return new BatchError(
    'ENVIRONMENT_UNSUPPORTED',
    `environment ${name} needs a Python 3.8 or later that can make virtual environments on this worker node ` +
      `(found: ${found.join('; ') || 'none'}): install one (Debian: python3-venv), or uv, micromamba, mamba or conda`,
  );
}

function noContainers(image: string, tools: NodeTools): BatchError {
  const docker = tools.docker === null ? '' : ' Docker is there, but cannot hand a scoring host its channels.';
  return new BatchError(
    'ENVIRONMENT_UNSUPPORTED',
    `the deployment runs in the image ${image}, and this worker node has no Apptainer.${docker} Install it, or name an ` +
      'interpreter that is there with --environment',
  );
}
