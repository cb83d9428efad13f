/** Files and folders that a deployment names: relative to its YAML, there, and of the right kind. */
import { lstat, opendir, readdir, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { LocalArtifact } from '../core/deployment.ts';
import { unreachable } from '../core/invariant.ts';
import { limits } from '../core/limits.ts';
import type { ConfigProblem, KeyPath } from './config-source.ts';
import { nearestWord } from './nearest-word.ts';
import { parseReference, referenceText, type AssetKind } from './reference.ts';

export interface PathRequest {
  readonly key: KeyPath;
  /** As written. */
  readonly value: string;
  /** Folder that relative paths start from, absolute. */
  readonly baseDir: string;
  readonly wanted: 'file' | 'folder' | 'file or folder';
  /** What the key is about. */
  readonly about: AssetKind;
}

/** What to do about a reference that cannot be followed. */
export function todayText(about: AssetKind): string {
  switch (about) {
    case 'model':
      return ', which cannot be fetched from here: give the path of a local file or folder, or --model PATH';
    case 'environment':
      return ', which cannot be fetched from here: give conda_file, or --environment host|PATH of a Python that has the packages';
    case 'data':
    case 'code':
    case 'component':
    case 'compute':
      return ', which cannot be fetched from here: download it and give the path of the local file or folder';
    default:
      return unreachable(about);
  }
}

/** Finds what `request` names, or adds to `problems` why it cannot be used. */
export async function findArtifact(request: PathRequest, problems: ConfigProblem[]): Promise<LocalArtifact | null> {
  const name = request.key.join('.');
  const fail = (code: ConfigProblem['code'], message: string): null => {
    problems.push({ code, path: request.key, at: 'value', message: `${name}: ${message}` });
    return null;
  };
  const reference = parseReference(request.value);
  if (reference.kind !== 'path') {
    const what = referenceText(reference, request.about);
    return fail(
      'CONFIG_INVALID',
      `${request.value} ${what}${reference.kind === 'malformed' ? '' : todayText(request.about)}`,
    );
  }
  const path = resolve(request.baseDir, reference.path);
  const kind = await kindAt(path);
  if (kind === null) return fail('DEPLOYMENT_NOT_FOUND', `${request.value} does not exist (looked for ${path})`);
  if (!request.wanted.includes(kind)) {
    return fail('CONFIG_INVALID', `wanted a ${request.wanted}, found the ${kind} ${path}`);
  }
  return { kind, path };
}

/** A script inside of its code folder, as a path relative to that; null after adding to `problems`. */
export async function findScript(
  script: string,
  codeDir: string,
  key: KeyPath,
  problems: ConfigProblem[],
): Promise<string | null> {
  const relative = normalize(script);
  if (isAbsolute(relative) || relative === '..' || relative.startsWith('../')) {
    const message = `${key.join('.')}: wanted a path inside of the code folder, found ${JSON.stringify(script)}`;
    problems.push({ code: 'CONFIG_INVALID', path: key, at: 'value', message });
    return null;
  }
  const found = await kindAt(join(codeDir, relative));
  if (found === 'file') return relative;
  const why = found === null ? await neighboursText(join(codeDir, relative)) : 'it is a folder';
  const message = `${key.join('.')}: failed to open ${script} in ${codeDir}: ${why}`;
  problems.push({ code: 'DEPLOYMENT_NOT_FOUND', path: key, at: 'value', message });
  return null;
}

/** Names what lies where a file was looked for: most often its name is a little different. */
async function neighboursText(path: string): Promise<string> {
  const folder = dirname(path);
  if ((await kindAt(folder)) !== 'folder') return `there is no folder ${folder}`;
  const names = (await readdir(folder)).toSorted();
  if (names.length === 0) return 'the folder is empty';
  const near = nearestWord(basename(path), names);
  const shown = names.slice(0, 8).join(', ');
  const hint = near === null ? '' : `; did you mean ${near}?`;
  return `there is no such file; found ${shown}${names.length > 8 ? ' and others' : ''}${hint}`;
}

/** What stands at `path`, links followed; null for nothing. */
export async function kindAt(path: string): Promise<'file' | 'folder' | null> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    if (isAbsent(error)) return null;
    throw new BatchError('DEPLOYMENT_NOT_FOUND', `${path} cannot be looked at: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/**
 * The folder that holds a bare script, which ships as its code, so that it can import what lies beside it.
 * @throws DEPLOYMENT_INVALID for a folder that is too large to be meant
 */
export async function bareCodeFolder(script: string): Promise<string> {
  const folder = dirname(script);
  let files = 0;
  let bytes = 0;
  const pending = [folder];
  for (let dir = pending.pop(); dir !== undefined; dir = pending.pop()) {
    for await (const entry of await opendir(dir)) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) pending.push(path);
      else [files, bytes] = [files + 1, bytes + (await lstat(path)).size];
      if (files > limits.bareCodeFilesMax || bytes > limits.bareCodeBytesMax) {
        throw new BatchError('DEPLOYMENT_INVALID', tooLarge(script, folder));
      }
    }
  }
  return folder;
}

function tooLarge(script: string, folder: string): string {
  const bytes = `${limits.bareCodeBytesMax / 1_048_576} MiB`;
  return (
    `the folder of ${script} ships to the worker nodes as its code, but ${folder} holds more than ` +
    `${limits.bareCodeFilesMax} files or ${bytes}. Move the script and what it imports to a folder of their own, ` +
    'or write a deployment.yml whose code_configuration.code names one'
  );
}
