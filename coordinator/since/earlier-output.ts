/** An earlier output as it was sealed: whether rows may be taken from it, and if not, why not. */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import { parseJson } from '../../common/core/parse-json.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { ResultSchema } from '../../common/core/result.ts';
import { binarySchema } from '../../common/format/prologue.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { readText } from '../../common/io/if-there.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { Since } from '../core/since.ts';
import { listCustomFiles } from '../output/custom-listing.ts';
import { manifestSchema, segmentLineSchema, type Manifest } from '../output/manifest-schema.ts';
import { manifestName } from '../output/output-names.ts';
import { hex32 } from '../output/segments.ts';
import { Findings } from '../verify/findings.ts';
import { readLines, type Place } from '../verify/sealed-files.ts';
import { scoredWith } from './scored-with.ts';

export interface SinceWanted {
  /** Output folder of the earlier job: absolute. */
  readonly dir: string;
  readonly deployment: Deployment;
  readonly inputPath: string;
  /** Where to put what is cut out of it: absolute. */
  readonly takenPath: string;
  readonly fileSystem: FileSystem;
}

/**
 * An output that was scored with something else is no error: nothing is taken from it, and `reason` says why.
 * @throws SINCE_UNUSABLE when it is no complete output of the same input that still has its rows
 */
export async function earlierOutput(wanted: SinceWanted): Promise<Since> {
  const { dir, deployment, inputPath, takenPath, fileSystem } = wanted;
  const manifest = await readManifest(fileSystem, dir);
  const refuse = (why: string): BatchError => new BatchError('SINCE_UNUSABLE', `${dir}: ${why}`);
  if (manifest.verdict !== 'Completed')
    throw refuse(
      `job ${manifest.name} is ${manifest.verdict}; name a complete output, or leave --since out. A coordinator that has the job finishes it with \`job resume ${manifest.name}\`; what \`run\` has begun cannot be finished`,
    );
  if (manifest.input_path !== inputPath)
    throw refuse(`job ${manifest.name} has scored ${manifest.input_path}, this one is to score ${inputPath}`);
  if (manifest.scored_with === undefined)
    throw refuse(`it was sealed by release ${manifest.batchmill}, which did not set down what the rows depend on`);
  if (manifest.output === null && (manifest.settings.parts ?? null) !== null)
    throw refuse('its rows are gone; a job with `incremental: true` keeps those that its parts are made of');
  if (manifest.output === null)
    throw refuse('it has no file of rows (output_action: summary_only), so there is nothing to take');
  if ((await listCustomFiles(dir, fileSystem)).some(({ rows }) => rows === undefined))
    throw refuse('its script has written files of its own, and nobody knows which of them belong to which input');
  const rowsPath = join(dir, manifest.output.path);
  const since = { job: manifest.name, dir, rowsPath, takenPath };
  const reason = differenceOf(manifest, deployment);
  if (reason !== null) return { ...since, reason, schema: null };
  return { ...since, reason: null, schema: await schemaOf(fileSystem, dir, rowsPath, manifest) };
}

/** @throws SINCE_UNUSABLE */
export async function readManifest(fileSystem: FileSystem, dir: string): Promise<Manifest> {
  const text = await readText(fileSystem, join(dir, manifestName)).catch((error: unknown) => {
    throw new BatchError('SINCE_UNUSABLE', `${dir} cannot be read: ${reasonOf(error)}`, { cause: error });
  });
  if (text === null)
    throw new BatchError('SINCE_UNUSABLE', `${dir} has no ${manifestName}: it is no output folder, or is not complete`);
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new BatchError('SINCE_UNUSABLE', `${join(dir, manifestName)} is damaged; \`job verify ${dir}\` says how`);
}

/** Null when all that rows depend on is the same. */
function differenceOf(manifest: Manifest, deployment: Deployment): string | null {
  if (manifest.scored_with === scoredWith(deployment)) return null;
  const { model, code, scorer } = manifest.deployment;
  if (model?.digest !== deployment.model?.digest) return 'the model is another one';
  if (code?.digest !== deployment.code?.digest) return 'the code is another one';
  const isSameScorer = JSON.stringify(scorer) === JSON.stringify(deployment.scorer);
  if (!isSameScorer) return 'the settings of the scorer are other ones';
  return 'environment, environment variables or the form of the output are other ones';
}

/** What stands before the first row is a segment of its own. */
async function schemaOf(
  fileSystem: FileSystem,
  dir: string,
  rowsPath: string,
  manifest: Manifest,
): Promise<ResultSchema | null> {
  const columns = manifest.columns ?? null;
  if (columns === null) return null;
  const [chunk] = manifest.segments ?? [];
  const findings = new Findings();
  const place: Place = { fileSystem, dir, findings, onBytes: () => undefined };
  const lines = chunk ? readLines(place, chunk, segmentLineSchema) : [];
  for await (const { value } of lines) {
    if (value.files > 0 || value.bytes === 0) break;
    const head = await readExactly(fileSystem, rowsPath, value.offset, value.bytes);
    if (head === null || hex32(crc32(head)) !== value.crc32) break;
    if (manifest.settings.outputFormat === 'arrow') return binarySchema(columns, head);
    return { columns, prologue: head.toString('utf8') };
  }
  if (findings.total === 0 && manifest.settings.outputFormat !== 'arrow') return { columns, prologue: '' };
  throw new BatchError('SINCE_UNUSABLE', `${rowsPath} is not what was sealed; \`job verify ${dir}\` says what of it`);
}

/** Null when the file ends before. */
export async function readExactly(
  fileSystem: FileSystem,
  path: string,
  offset: number,
  bytes: number,
): Promise<Buffer | null> {
  const file = await fileSystem.open(path, 'read');
  try {
    const buffer = Buffer.allocUnsafe(bytes);
    return (await file.read(buffer, offset)) === bytes ? buffer : null;
  } finally {
    await file.close();
  }
}
