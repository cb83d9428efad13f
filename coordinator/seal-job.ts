/** Ends a job's output folder: turns its ledger and catalog into the lines of manifest and errors file. */
import type { Failure } from '../common/core/batch-error.ts';
import type { Deployment, EnvironmentSpec } from '../common/core/deployment.ts';
import type { InputFile } from '../common/core/input.ts';
import { hasParts, rowsFileName, type PartFile } from '../common/core/parts-form.ts';
import { formatToken } from '../common/core/token.ts';
import { epilogueOf } from '../common/format/epilogue.ts';
import { prologueBytes } from '../common/format/prologue.ts';
import type { FileSystem } from '../common/ports/file-system.ts';
import { noBatch, outputSegment, type Place } from './core/batch-table.ts';
import { partialOutputName } from './core/generation.ts';
import { unknownRows, type FailedFile, type Job, type Ledger } from './core/ledger.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import { earlierCustomFiles } from './output/custom-listing.ts';
import type { SealedEnvironment } from './output/manifest-schema.ts';
import { sealOutput, type ManifestSigner } from './output/seal.ts';
import type { StorePlace } from './output/custom-publish.ts';
import type { PartsSource } from './output/seal-parts.ts';
import type { CustomFileLine, ErrorLine, FileLine, FileLinePart, SealedOutput } from './output/sealed-lines.ts';
import { scoredWith } from './since/scored-with.ts';
import type { OutputLayout, OutputPlace } from './output/segments.ts';
import { isoTime, jobView } from './views/job-view.ts';
import { circumstancesView } from './views/circumstances.ts';

export interface SealJobOptions {
  readonly ledger: Ledger;
  readonly job: Job;
  readonly catalog: InputCatalog;
  /** Where the files of user code are until now. */
  readonly stagingDir: string;
  readonly release: string;
  readonly endedWallMs: number;
  /** What an inner job has made of the rows; null where the rows are the output. */
  readonly parts: SealedParts | null;
  /** Null: the coordinator has no lasting key. */
  readonly signer: ManifestSigner | null;
  readonly fileSystem: FileSystem;
}

/** An inner job that has made all parts. */
export interface SealedParts {
  readonly inner: Job;
  readonly stagingDir: string;
  readonly files: ReadonlyMap<string, PartFile>;
  readonly place: StorePlace | null;
}

/** Null when there was nothing to do. @throws DISK_FULL (seal again when there is room), STATE_UNWRITABLE, OUTPUT_CORRUPT */
export async function sealJob(options: SealJobOptions): Promise<SealedOutput | null> {
  const { job, catalog, fileSystem } = options;
  const isBrokenOff = job.state === 'Failed' || job.state === 'Canceled';
  // The output that is complete stays when a later generation does not come to be.
  if (isBrokenOff && job.sealedGeneration > 0) return null;
  const rowsName = rowsFileName(job.deployment.settings);
  const failures = failuresByFile(job);
  return sealOutput({
    dir: job.outputDir,
    outputFileName: keepsRows(job) ? rowsName : null,
    header: manifestHeader(options),
    files: fileLines(job, catalog, failures),
    errors: errorLines(catalog, failures),
    parts: partsSource(options),
    workingFiles: keepsRows(job) ? [] : rowsFiles(job),
    custom: { stagingDir: options.stagingDir, archives: customArchives(job), job: job.name },
    verdict: isBrokenOff ? (job.state as 'Failed' | 'Canceled') : 'Completed',
    generation: job.generation,
    outputBytes: job.outputCommitted,
    epilogue: await epilogueOf(job.deployment.settings, job.schema >= 0),
    earlierCustom: job.reopenings > 0 ? await earlierOf(options) : [],
    layout: keepsRows(job) ? outputLayout(job) : null,
    signer: options.signer,
    fileSystem,
  });
}

/** Parts are made anew as a whole; files of user code only where all that was ever written is staged. */
async function earlierOf({ job, fileSystem }: SealJobOptions): Promise<readonly CustomFileLine[]> {
  const earlier = await earlierCustomFiles(job.outputDir, job.name, fileSystem);
  return earlier.filter((line) => line.rows !== undefined || job.isCustomWhole);
}

/** Parts need no rows behind them; but whoever scores failed files again, or only what is new, takes the others from there. */
function keepsRows(job: Job): boolean {
  const { settings } = job.deployment;
  if (settings.outputAction === 'summary_only') return false;
  const isWanted = settings.incremental === true || job.failedFiles > 0;
  return !hasParts(settings) || job.state === 'Failed' || job.state === 'Canceled' || isWanted;
}

/** Under all names that they may have. */
function rowsFiles({ deployment, generation }: Job): readonly string[] {
  const name = rowsFileName(deployment.settings);
  if (name === null) return [];
  return [name, ...Array.from({ length: generation }, (_, before) => partialOutputName(name, before + 1))];
}

function partsSource({ parts }: SealJobOptions): PartsSource | null {
  if (parts === null) return null;
  const { inner, stagingDir, files, place } = parts;
  return { stagingDir, archives: customArchives(inner), job: inner.rowsOf ?? inner.name, files, place };
}

function manifestHeader({ ledger, job, release, endedWallMs }: SealJobOptions): Record<string, unknown> {
  const { deployment } = job;
  const { files, mini_batches, rows, shadow } = jobView(ledger, job);
  return {
    name: job.name,
    batchmill: release,
    deployment: { name: deployment.name, ...sealedScorer(deployment) },
    settings: { ...deployment.settings, environmentVariables: Object.keys(deployment.settings.environmentVariables) },
    scored_with: scoredWith(deployment),
    columns: columnsOf(job),
    since: job.since && { job: job.since.job, output_path: job.since.dir, reason: job.since.reason },
    shadow: shadow && job.shadow && { ...shadow, ...sealedScorer(job.shadow.deployment) },
    origin: { endpoint: job.origin.endpoint, revision: job.origin.revision, owner: job.origin.owner },
    input_path: job.inputPath,
    input_selection: job.selection,
    created_at: isoTime(job.createdWallMs),
    started_at: job.startedWallMs === null ? null : isoTime(job.startedWallMs),
    ended_at: isoTime(job.endedWallMs ?? endedWallMs),
    counts: { files, mini_batches: mini_batches.total, rows },
    error: job.error,
  };
}

function sealedScorer({ scorer, model, code, environment }: Deployment): object {
  return { scorer, model, code, environment: sealedEnvironment(environment) };
}

function columnsOf({ schemas, schema }: Job): readonly string[] | null {
  const columns = schemas[schema]?.columns ?? [];
  return columns.length === 0 ? null : columns;
}

/** Without the text of a conda file, which its digest stands for. */
function sealedEnvironment(environment: EnvironmentSpec): SealedEnvironment {
  const conda = environment.kind === 'host' ? null : environment.conda;
  const { kind } = environment;
  return {
    kind,
    python: kind === 'host' ? environment.python : null,
    image: kind === 'image' ? environment.image : null,
    conda: conda && { name: conda.name, digest: conda.digest },
  };
}

/** Of what is in the output file; results that were still waiting for their turn when the job ended are not. */
function outputLayout(job: Job): OutputLayout {
  const prologue = prologueBytes(job.schemas[job.schema]);
  // By itself it is not durable: the first rows are what makes it so.
  const isThere = job.outputCommitted > prologue.length;
  return { prologue: isThere ? prologue : new Uint8Array(0), places: outputPlaces(job) };
}

function* outputPlaces(job: Job): Generator<OutputPlace, void, void> {
  const { batches } = job;
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    const state = batches.state(batch);
    if (state === 'split') continue;
    const place = batches.place(batch);
    const isThere = state === 'committed' && place.segment <= outputSegment;
    yield {
      first: batches.first(batch),
      count: batches.files(batch),
      rows: isThere ? batches.rows(batch) : 0,
      bytes: isThere ? place.length : 0,
      crc32: place.crc32,
      isCommitted: isThere,
      isOpaque: isThere && isOpaque(job, batch),
    };
  }
}

/** Rows of some of its files are not known. */
function isOpaque({ batches, fileRows }: Job, batch: number): boolean {
  const first = batches.first(batch);
  return fileRows.subarray(first, first + batches.files(batch)).includes(unknownRows) || first >= fileRows.length;
}

/** Of all committed mini-batches, in input order. */
function* customArchives({ batches, custom }: Job): Generator<Place, void, void> {
  for (let batch = batches.head; batch !== noBatch && custom.size > 0; batch = batches.next(batch)) {
    const place = custom.get(batch);
    if (place && batches.state(batch) === 'committed') yield place;
  }
}

/**
 * The failure of each failed file by ordinal. Where a mini-batch returned too few rows, and nobody knows for which of its
 * files, all are named that have no reason of their own.
 */
function failuresByFile(job: Job): ReadonlyMap<number, FailedFile> {
  const byFile = new Map<number, FailedFile>();
  for (const failed of job.failures) {
    for (let file = failed.first; file < failed.first + failed.count; file += 1) {
      if (failed.missing === 0 || !byFile.has(file)) byFile.set(file, failed);
    }
  }
  return byFile;
}

async function* fileLines(
  job: Job,
  catalog: InputCatalog,
  failures: ReadonlyMap<number, FailedFile>,
): AsyncGenerator<readonly FileLine[]> {
  const { batches } = job;
  let batch = batches.head;
  let ordinal = 0;
  for await (const page of catalog.pages()) {
    const lines: FileLine[] = [];
    for (const file of page) {
      // A page that was listed while the job ended is not of it.
      if (ordinal >= job.files) break;
      while (
        batch !== noBatch &&
        (batches.state(batch) === 'split' || batches.first(batch) + batches.files(batch) <= ordinal)
      ) {
        batch = batches.next(batch);
      }
      lines.push(fileLine(job, file, ordinal, batch, failures.get(ordinal)));
      ordinal += 1;
    }
    yield lines;
  }
}

/** `batch`: the mini-batch that the file is in. */
function fileLine(job: Job, file: InputFile, ordinal: number, batch: number, failed: FailedFile | undefined): FileLine {
  const { batches } = job;
  // Results that still waited for their turn when the job ended are not in its output.
  const isCommitted =
    batch !== noBatch && batches.state(batch) === 'committed' && batches.place(batch).segment <= outputSegment;
  const isTaken = isCommitted && batches.isTaken(batch);
  const isScored = isCommitted && !isTaken;
  const rows = job.fileRows[ordinal] ?? unknownRows;
  return {
    ordinal,
    path: file.path,
    size_bytes: file.sizeBytes,
    ...partOf(file),
    identity: file.identity,
    status: failed ? 'failed' : isCommitted ? 'scored' : 'unscored',
    ...(isTaken ? { taken: true } : {}),
    rows: isCommitted && rows !== unknownRows ? rows : null,
    mini_batch: batch === noBatch ? null : [batches.first(batch), batches.files(batch)],
    attempt: isScored ? formatToken(batches.token(batch)) : null,
    attempts: batch === noBatch ? 0 : batches.failures(batch) + batches.lostLeases(batch) + (isScored ? 1 : 0),
    node: (isScored ? job.nodeNames[batches.node(batch)] : failed?.node) ?? null,
    code: failed?.failure.code ?? null,
  };
}

async function* errorLines(
  catalog: InputCatalog,
  failures: ReadonlyMap<number, FailedFile>,
): AsyncGenerator<ErrorLine> {
  for (const ordinal of [...failures.keys()].sort((a, b) => a - b)) {
    const { failure, node, tries, circumstances } = failures.get(ordinal) as FailedFile;
    const [file] = await catalog.files(ordinal, 1);
    yield {
      ordinal,
      path: file?.path ?? '',
      ...(file && partOf(file)),
      ...textOf(failure),
      tries,
      node,
      ...circumstancesView(circumstances),
    };
  }
}

function partOf({ part }: InputFile): { readonly part?: FileLinePart } {
  return part === undefined ? {} : { part: [part.begin, part.end] };
}

function textOf({ code, message, detail }: Failure): Failure {
  return { code, message, detail };
}
