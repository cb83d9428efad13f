/** Names that this program gives to files of an output folder. */
import { BatchError } from '../../common/core/batch-error.ts';
import { partialOutputName } from '../core/generation.ts';

export const successName = '_SUCCESS';
export const manifestName = '_manifest.json';
/** Signature of the manifest: a JSON Web Signature without its content. */
export const signatureName = '_manifest.jws';
export const errorsName = '_errors.jsonl';
/** Folder of the manifest's chunks. */
export const manifestDirName = '_manifest';

/** Parts that a job has begun to give their names, until its manifest names them. */
export const begunPartsName = '_manifest.parts.jsonl';
/** Objects that a job has begun to put into a store; beside what it has itself. */
export const claimsName = '_manifest.claims.jsonl';

/** Folder in which custom files are put together before they get their names. */
export const customTemporaryDirName = '_custom.partial';

/** Folder in which worker nodes put parts of the output, until those of committed attempts get their names. */
export const attemptsDirName = '_attempts';

/** Chunks of the manifest: input files, files that user code wrote, segments of the output. */
export type ManifestChunkKind = 'files' | 'custom' | 'segments';

/** `files-00000.jsonl`, `custom-00000.jsonl`; of the second generation `files-200000.jsonl`, so that the first one's stay until it is replaced. */
export function manifestChunkName(index: number, kind: ManifestChunkKind = 'files', generation = 1): string {
  return `${kind}-${generation === 1 ? '' : generation}${String(index).padStart(5, '0')}.jsonl`;
}

export function isManifestChunkName(name: string): boolean {
  return /^(files|custom|segments)-\d{5,}\.jsonl$/.test(name.replace(/\.tmp$/, ''));
}

/** Name of the output file until the job is completed. */
export function partialName(outputFileName: string, generation = 1): string {
  return partialOutputName(outputFileName, generation);
}

/** Which generation of the output this is while it grows; null: none but the first, or something else. */
export function laterGeneration(name: string, outputFileName: string): number | null {
  if (!name.startsWith(`${outputFileName}.generation-`)) return null;
  const match = /^\.generation-(\d+)\.partial$/.exec(name.slice(outputFileName.length));
  return match ? Number(match[1]) : null;
}

/** Whether a job that was reopened left this behind on its way to the output. */
export function isLaterPartial(name: string, outputFileName: string): boolean {
  return laterGeneration(name, outputFileName) !== null;
}

/** Under which a file is written before it is given its own name. */
export function temporaryName(name: string): string {
  return `${name}.tmp`;
}

/**
 * A plain file name, not a path and none of our own.
 * @throws CONFIG_INVALID
 */
export function checkOutputFileName(name: string): void {
  const isPlain =
    name !== '' && name !== '.' && name !== '..' && !/[/\\\0]/.test(name) && Buffer.byteLength(name) <= 240;
  const own = [successName, manifestName, signatureName, errorsName, manifestDirName, begunPartsName, claimsName];
  const isOurs = own.includes(name);
  if (isPlain && !isOurs) return;
  throw new BatchError(
    'CONFIG_INVALID',
    `output_file_name is the name of a file in the output folder, such as predictions.csv, not ${JSON.stringify(name)}`,
  );
}

/** For a message, of what may be many. */
export function someOf(paths: readonly string[]): string {
  const more = paths.length > 5 ? ` and ${paths.length - 5} more` : '';
  return `${paths.slice(0, 5).join(', ')}${more}`;
}
