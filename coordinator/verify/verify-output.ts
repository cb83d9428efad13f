/**
 * Proves a sealed output folder from what lies in it, without a coordinator: markers, manifest, its digests, sums and ranges, the
 * output's bytes, custom files, signature, and the inputs where they can be reached. Memory does not grow with the number of files.
 */
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { limits } from '../../common/core/limits.ts';
import { parseJson } from '../../common/core/parse-json.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { PublicJwk } from '../../common/security/detached-jws.ts';
import type { Inputs } from '../input/input-by-location.ts';
import { inspectInput } from '../input/input-root.ts';
import { statFiles, type StatFiles } from '../input/stat-files.ts';
import { manifestSchema, type Manifest } from '../output/manifest-schema.ts';
import { isManifestChunkName, manifestDirName, manifestName, successName } from '../output/output-names.ts';
import { sizeOf } from '../output/recover-output.ts';
import { join } from 'node:path';
import { Findings, type Finding } from './findings.ts';
import { openSealed, type Place } from './sealed-files.ts';
import { verifyCustom } from './verify-custom.ts';
import { InputCheck } from './verify-inputs.ts';
import { verifyLines, type VerifiedLines } from './verify-lines.ts';
import { verifyRows, type VerifiedRows } from './verify-rows.ts';
import { verifySignature, type SignatureState } from './verify-signature.ts';

export interface VerifyOptions {
  /** Absolute. */
  readonly dir: string;
  /** Absolute; null: where the manifest says, if that is there. */
  readonly inputPath: string | null;
  /** Must have signed the manifest; null: any key, or none. */
  readonly key: PublicJwk | null;
  readonly onProgress?: (progress: VerifyProgress) => void;
  readonly fileSystem?: FileSystem;
  readonly statFiles?: StatFiles;
  readonly inspectInput?: Inputs['inspectInput'];
}

export interface VerifyProgress {
  /** Lines of input files so far, and how many there are; 0 while it is not known. */
  readonly files: number;
  readonly filesTotal: number;
  /** Read so far of everything. */
  readonly bytes: number;
}

export interface VerifyReport {
  readonly output_path: string;
  /** Null when no manifest could be read, as are the three below. */
  readonly name: string | null;
  readonly verdict: Manifest['verdict'] | null;
  readonly format: number | null;
  readonly is_valid: boolean;
  readonly signature: SignatureState | null;
  /** Key id that the manifest is signed with. */
  readonly signed_by: string | null;
  readonly files: number;
  readonly rows: number | null;
  readonly segments: number;
  readonly output_bytes: number | null;
  /** Where they were looked for; null when they could not be reached. */
  readonly input_path: string | null;
  readonly inputs_checked: number;
  readonly findings_total: number;
  readonly findings_by_code: Readonly<Partial<Record<ErrorCode, number>>>;
  /** The first {@link limits.verifyFindingsMax}. */
  readonly findings: readonly Finding[];
}

/** @throws INPUT_NOT_FOUND, INPUT_UNREADABLE for a given input path that is not there, and the disk's own errors */
export async function verifyOutput(options: VerifyOptions): Promise<VerifyReport> {
  const { dir, fileSystem = nodeFileSystem } = options;
  const findings = new Findings();
  const progress = { files: 0, filesTotal: 0, bytes: 0 };
  const tell = (): void => options.onProgress?.({ ...progress });
  const place: Place = {
    ...{ fileSystem, dir, findings },
    onBytes: (bytes) => {
      progress.bytes += bytes;
      tell();
    },
  };
  const read = await readManifest(place);
  const empty = emptyReport(dir);
  if (read === null) return finished(empty, findings);
  const { manifest, content } = read;
  await checkMarkers(place, manifest);
  const signature = await verifySignature(place, manifest, content, options.key);
  const base = await inputBase(options, manifest.input_path);
  const inputs = base === null ? null : new InputCheck({ base, statFiles: options.statFiles ?? statFiles, findings });
  progress.filesTotal = manifest.totals?.files ?? manifest.counts.files.total;
  const lines = await verifyLines(place, manifest, async (line) => {
    await inputs?.take(line);
    progress.files += 1;
    if (progress.files % 4_096 === 0) tell();
  });
  await inputs?.flush();
  const rows = await verifyRows(place, manifest);
  const partRows = await verifyCustom(place, manifest);
  // Sums that do not add up say nothing new where something was lost or doubled.
  if (findings.total === 0) checkTotals(place, manifest, lines, rows, partRows);
  return finished(
    {
      ...empty,
      ...{ name: manifest.name, verdict: manifest.verdict, format: manifest.format, signature },
      signed_by: manifest.signed_by?.key_id ?? null,
      files: lines.totals.files,
      rows: rows?.rows ?? partRows,
      segments: rows?.segments ?? 0,
      output_bytes: manifest.output?.bytes ?? null,
      input_path: base,
      inputs_checked: inputs?.checked ?? 0,
    },
    findings,
  );
}

function emptyReport(dir: string): VerifyReport {
  return {
    ...{ output_path: dir, name: null, verdict: null, format: null, is_valid: false, signature: null, signed_by: null },
    ...{ files: 0, rows: null, segments: 0, output_bytes: null, input_path: null, inputs_checked: 0 },
    ...{ findings_total: 0, findings_by_code: {}, findings: [] },
  };
}

function finished(report: VerifyReport, findings: Findings): VerifyReport {
  const { total, counts, list } = findings;
  return { ...report, is_valid: total === 0, findings_total: total, findings_by_code: counts, findings: list };
}

interface ReadManifest {
  readonly manifest: Manifest;
  readonly content: Uint8Array;
}

async function readManifest(place: Place): Promise<ReadManifest | null> {
  const { fileSystem, dir, findings } = place;
  const refuse = (key: string | null, message: string): null => {
    findings.add({ code: 'MANIFEST_INVALID', kind: 'inconsistent', path: manifestName, place: key, message });
    return null;
  };
  const size = await sizeOf(fileSystem, join(dir, manifestName));
  if (size === null) {
    const message = `${dir} has no ${manifestName}: the job still runs, or this is not the output folder of one`;
    findings.add({ code: 'OUTPUT_INCOMPLETE', kind: 'incomplete', path: manifestName, place: null, message });
    return null;
  }
  if (size > limits.manifestBytesMax)
    return refuse(null, `${manifestName} has ${size} bytes, none of ours has so many`);
  const file = await openSealed(place, manifestName);
  if (file === null) return null;
  const content = Buffer.alloc(size);
  try {
    await file.read(content, 0);
  } finally {
    await file.close();
  }
  const parsed = manifestSchema.safeParse(parseJson(content.toString('utf8')));
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const key = issue.path.join('.');
      refuse(key || null, `${manifestName}: ${key === '' ? 'it is no JSON object' : `${key}: ${issue.message}`}`);
    }
    return null;
  }
  const stray = strayPath(parsed.data);
  if (stray !== null)
    return refuse(null, `${manifestName} names ${JSON.stringify(stray)}, which is no file of the folder’s own`);
  return { manifest: parsed.data, content };
}

/** A file that the manifest names and that is none of those that are ours: it is not opened. */
function strayPath({ files, segments, custom_chunks: custom, errors, output }: Manifest): string | null {
  const chunks = [...files, ...(segments ?? []), ...custom].map(({ path }) => path);
  const isChunk = (path: string): boolean => {
    const [folder, name = '', ...more] = path.split('/');
    return folder === manifestDirName && more.length === 0 && isManifestChunkName(name) && !name.endsWith('.tmp');
  };
  const isPlain = (path: string): boolean => !/[/\\\0]/.test(path) && path !== '' && path !== '.' && path !== '..';
  const others = [errors?.path, output?.path].filter((path) => path !== undefined);
  return chunks.find((path) => !isChunk(path)) ?? others.find((path) => !isPlain(path)) ?? null;
}

async function checkMarkers({ fileSystem, dir, findings }: Place, { verdict, name }: Manifest): Promise<void> {
  const isMarked = (await sizeOf(fileSystem, join(dir, successName))) !== null;
  const where = { path: successName, place: null };
  if (verdict !== 'Completed') {
    const message = `job ${name} has ${verdict === 'Failed' ? 'failed' : 'been canceled'}: its output ends where it was broken off`;
    findings.add({ code: 'OUTPUT_INCOMPLETE', kind: 'incomplete', path: manifestName, place: 'verdict', message });
    if (!isMarked) return;
    const stray = `${successName} stands beside the manifest of a job that has not completed`;
    findings.add({ code: 'OUTPUT_CORRUPT', kind: 'altered', ...where, message: stray });
  } else if (!isMarked) {
    const message = `${successName} is missing, so that a reader may take the output for one that is still being written`;
    findings.add({ code: 'OUTPUT_INCOMPLETE', kind: 'missing', ...where, message });
  }
}

/** Null when nothing is there to be looked at and nobody has asked for it. */
async function inputBase(options: VerifyOptions, listed: string): Promise<string | null> {
  const { inputPath: given, inspectInput: inspect = inspectInput } = options;
  try {
    return (await inspect(given ?? listed)).base;
  } catch (error) {
    if (given === null && error instanceof BatchError) return null;
    throw error;
  }
}

/** What the manifest counts against what its own lines come to. */
function checkTotals(
  place: Place,
  manifest: Manifest,
  lines: VerifiedLines,
  rows: VerifiedRows | null,
  partRows: number | null,
): void {
  const { counts, verdict, output } = manifest;
  const { totals } = lines;
  const equal = (key: string, said: number | null | undefined, found: number | null): void => {
    if (said === undefined || said === found) return;
    const message = `${key} is ${said}, its lines come to ${found}`;
    place.findings.add({ code: 'MANIFEST_INVALID', kind: 'inconsistent', path: manifestName, place: key, message });
  };
  for (const key of ['files', 'scored', 'failed', 'unscored', 'taken', 'input_bytes'] as const) {
    equal(`totals.${key}`, manifest.totals?.[key], totals[key] ?? null);
  }
  equal('counts.files.total', counts.files.total, totals.files);
  if (!manifest.totals) return;
  equal('totals.output_bytes', manifest.totals.output_bytes, output?.bytes ?? null);
  equal('totals.rows', manifest.totals.rows, rows?.rows ?? partRows);
  if (partRows !== null) equal('counts.rows', counts.rows, partRows);
  if (rows === null) return;
  equal('output.bytes', output?.bytes, rows.bytes);
  if (verdict !== 'Completed') return;
  equal('counts.rows', counts.rows, rows.rows);
  equal('totals.files', manifest.totals.files, rows.files);
}
