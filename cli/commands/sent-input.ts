/** Inputs on their way to the coordinator, and paths that mean a place there. */
import { isAbsolute, resolve } from 'node:path';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { inputText } from '../../common/config/input-location.ts';
import { parseReference, referenceText } from '../../common/config/reference.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { isUri } from '../../common/core/location.ts';
import { uploadedPath, type Uploads } from '../api/uploads.ts';

/** An input as somebody gave it; relative paths start from `baseDir`. */
export interface GivenInput {
  readonly text: string;
  readonly type: 'uri_folder' | 'uri_file' | null;
  readonly baseDir: string;
}

export interface SentInput {
  readonly path: string;
  readonly type: 'uri_folder' | 'uri_file' | null;
}

/** @throws LOCATION_INVALID, INPUT_NOT_FOUND, USAGE */
export async function sentInput({ text: given, type, baseDir }: GivenInput, uploads: Uploads): Promise<SentInput> {
  const text = given.trim();
  if (text === '') throw new BatchError('USAGE', `--input: ${wantedInput}, found nothing`);
  if (/^(azureml:|\/subscriptions\/)/i.test(text)) return { path: reference(text), type };
  if (isUri(text)) return { path: inputText(text, baseDir), type };
  const path = resolve(baseDir, text.replace(/^file:/i, ''));
  const kind = await kindAt(path);
  if (kind === null) {
    if (/^[a-z0-9][\w.-]*(:[\w.-]+|@[\w.-]+)$/i.test(text)) return { path: `azureml:${text}`, type };
    // Of a disk that only the coordinator sees.
    if (isAbsolute(text) && !uploads.isShared) return { path, type };
    throw new BatchError('INPUT_NOT_FOUND', `there is no file or folder ${path}; --input: ${wantedInput}`);
  }
  const found = kind === 'file' ? 'uri_file' : 'uri_folder';
  if (type !== null && type !== found) {
    const wanted = type === 'uri_file' ? 'file' : 'folder';
    throw new BatchError(
      'USAGE',
      `there is no ${wanted} at ${path}, which is a ${kind}; --input-type ${found} fits it`,
    );
  }
  const sent = await uploads.send({ kind, path });
  return { path: 'digest' in sent ? uploadedPath(sent) : sent.path, type: found };
}

const wantedInput =
  'wanted a local file or folder, a location (https://…, s3://…), a data asset (azureml:NAME:VERSION) or a place in a datastore (azureml://datastores/NAME/paths/PATH)';

function reference(text: string): string {
  const found = parseReference(text);
  if (found.kind !== 'malformed') return text;
  throw new BatchError('LOCATION_INVALID', `--input: ${text} ${referenceText(found, 'data')}`);
}

/** Paths that are not sent, as they were given. */
export interface LeftPaths {
  readonly output?: string | undefined;
  readonly since?: string | undefined;
  readonly inputList?: string | undefined;
}

/** What to say of them where the coordinator sees another disk, and they look as if this one were meant. */
export function elsewhereNotes(
  { isShared }: Uploads,
  { output, since, inputList }: LeftPaths,
  cwd: string,
): readonly string[] {
  if (isShared) return [];
  const notes: string[] = [];
  const there = (flag: string, path: string): string =>
    `note: ${flag} ${resolve(cwd, path)} is looked for on the coordinator's machine; no file is sent for it`;
  if (inputList !== undefined) notes.push(there('--input-list', inputList));
  if (since?.includes('/')) notes.push(there('--since', since));
  if (output !== undefined && isRelative(output, cwd)) {
    notes.push("note: the output lies on the coordinator's machine; `batchmill job download NAME` fetches it");
  }
  return notes;
}

function isRelative(text: string, cwd: string): boolean {
  return isAbsolute(inputText(text, cwd)) && !isAbsolute(text.replace(/^file:/i, ''));
}
