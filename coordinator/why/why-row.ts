/**
 * Where a row of a sealed output comes from: its input file, the attempt that made it, what was printed meanwhile. Read from
 * the output folder alone, so that it can be asked anywhere and as long as the folder is there.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { textsOf } from '../../common/compare/row-texts.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { outputFormats } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { readFully } from '../../common/io/read-fully.ts';
import { batchRecords, type PlacedRecord } from '../logs/batch-records.ts';
import { logsDirName } from '../logs/log-tree.ts';
import type { Manifest } from '../output/manifest-schema.ts';
import type { FileLine, SegmentLine } from '../output/sealed-lines.ts';
import { readExactly, readManifest } from '../since/earlier-output.ts';
import { linesOf } from '../since/earlier-rows.ts';
import { Findings } from '../verify/findings.ts';

export interface RowOrigin {
  readonly job: string;
  readonly deployment: string;
  /** Endpoint that was invoked, and the deployment's revision under it; null: none, or the manifest is of an older release. */
  readonly endpoint: string | null;
  readonly revision: number | null;
  readonly model: string | null;
  /** Of the output, from 0; a header is none. */
  readonly row: number;
  /** As it stands in the file of rows; null where it is not text. */
  readonly text: string | null;
  /** What is known: `row`: which of its file's rows it is. `mini_batch`: only that it is of one of `files`. */
  readonly grain: 'row' | 'mini_batch';
  /** One, unless the grain is a mini-batch. */
  readonly files: readonly string[];
  readonly row_in_file: number | null;
  /** First file of its mini-batch, and how many follow. */
  readonly mini_batch: readonly [first: number, count: number] | null;
  readonly attempt: string | null;
  readonly attempts: number | null;
  readonly node: string | null;
  /** True: the row was taken from the output of `since`. */
  readonly taken: boolean;
  readonly since: string | null;
  /** Null: the logs are not there any more. */
  readonly run: {
    readonly process: string;
    readonly start: string;
    readonly seconds: number;
    readonly status: string;
    readonly stdout: string;
    readonly stderr: string;
  } | null;
}

/** @throws COMPARE_UNUSABLE for an output whose rows cannot be told from each other; INPUT_NOT_FOUND for a row that it has not */
export async function whyRow(dir: string, row: number): Promise<RowOrigin> {
  const manifest = await readManifest(nodeFileSystem, dir).catch((error: unknown) => {
    if (!(error instanceof BatchError)) throw error;
    throw new BatchError('COMPARE_UNUSABLE', error.message, { cause: error });
  });
  if (row >= manifest.counts.rows) {
    const has = `it has ${manifest.counts.rows}, from 0 to ${manifest.counts.rows - 1}`;
    throw new BatchError('INPUT_NOT_FOUND', `${dir} has no row ${row}: ${has}`);
  }
  if (isPartitioned(manifest)) {
    throw new BatchError(
      'COMPARE_UNUSABLE',
      `the rows of ${dir} are in partitions, where no row has a number of its own`,
    );
  }
  const records = await recordsOf(dir);
  const found = await placeOf(dir, manifest, row, records);
  const { lines, rowInFile, segment } = found;
  const [first] = lines;
  const record = records.get(first?.attempt ?? '');
  const { deployment, origin } = manifest;
  return {
    ...{ job: manifest.name, deployment: deployment.name, endpoint: origin?.endpoint ?? null },
    ...{
      revision: origin?.revision ?? null,
      model: deployment.model && `${deployment.model.name} (${deployment.model.digest})`,
    },
    ...{ row, text: segment && (await textOf(dir, manifest, segment)) },
    ...{ grain: rowInFile === null ? 'mini_batch' : 'row', files: lines.map(nameOf), row_in_file: rowInFile },
    ...{ mini_batch: first?.mini_batch ?? null, attempt: first?.attempt ?? null, attempts: first?.attempts ?? null },
    ...{ node: first?.node ?? null, taken: first?.taken === true },
    since: first?.taken === true ? (manifest.since?.output_path ?? null) : null,
    run: record ? await runOf(dir, record) : null,
  };
}

function isPartitioned({ settings: { parts } }: Manifest): boolean {
  return ((parts as { readonly partitionBy?: readonly string[] } | null | undefined)?.partitionBy ?? []).length > 0;
}

function nameOf({ path, part }: FileLine): string {
  return part === undefined ? path : `${path} [${part[0]}, ${part[1]})`;
}

async function recordsOf(dir: string): Promise<ReadonlyMap<string, PlacedRecord>> {
  const records = new Map<string, PlacedRecord>();
  for await (const record of batchRecords(dir)) records.set(record.token, record);
  return records;
}

interface RowPlace {
  /** The file that it is of, or all of its mini-batch. */
  readonly lines: readonly FileLine[];
  readonly rowInFile: number | null;
  /** Where it stands, and which row of it it is; null: there is no file of rows. */
  readonly segment: { readonly line: SegmentLine; readonly row: number } | null;
}

/** Rows before it are counted by file where that is known, by mini-batch where its attempt's record is still there. */
async function placeOf(
  dir: string,
  manifest: Manifest,
  row: number,
  records: ReadonlyMap<string, PlacedRecord>,
): Promise<RowPlace> {
  const findings = new Findings();
  const place = { fileSystem: nodeFileSystem, dir, findings, onBytes: (): void => undefined };
  let before = 0;
  let group: FileLine[] = [];
  let segment: { line: SegmentLine; first: number } | null = null;
  for await (const { line, segment: of } of linesOf(place, manifest)) {
    if (of !== null && of.offset !== segment?.line.offset) {
      const counted: number = segment === null ? 0 : segment.first + segment.line.rows;
      segment = { line: of, first: counted };
      // What the segments say is exact.
      before = counted;
      group = [];
    }
    if (segment !== null && row >= segment.first + segment.line.rows) continue;
    const within = segment && { line: segment.line, row: row - segment.first };
    if (line.rows !== null) {
      if (row < before + line.rows) return { lines: [line], rowInFile: row - before, segment: within };
      before += line.rows;
      continue;
    }
    if (line.status !== 'scored') continue;
    if (group[0]?.attempt !== line.attempt) group = [];
    group.push(line);
    const [first = -1, count = 0] = line.mini_batch ?? [];
    if (line.ordinal !== first + count - 1) continue;
    const rows = records.get(line.attempt ?? '')?.rows ?? null;
    if (rows === null) break;
    if (row < before + rows) return { lines: group, rowInFile: null, segment: within };
    before += rows;
    group = [];
  }
  const [damage] = findings.list;
  const why =
    damage?.message ?? 'the manifest counts rows by mini-batch here, and the logs that say how many each made are gone';
  throw new BatchError('COMPARE_UNUSABLE', `where row ${row} of ${dir} comes from cannot be told: ${why}`);
}

async function textOf(
  dir: string,
  manifest: Manifest,
  { line, row }: { readonly line: SegmentLine; readonly row: number },
): Promise<string | null> {
  const format = outputFormats.find((one) => one === manifest.settings.outputFormat) ?? 'azure';
  if (manifest.output === null || format === 'arrow') return null;
  const bytes = await readExactly(nodeFileSystem, join(dir, manifest.output.path), line.offset, line.bytes);
  const texts = bytes && (await textsOf(bytes, line.rows, format, Buffer.alloc(0)));
  return texts?.[row]?.slice(0, limits.shownRowChars) ?? null;
}

async function runOf(dir: string, record: PlacedRecord): Promise<NonNullable<RowOrigin['run']>> {
  const { process, start, run_seconds: seconds, status, node } = record;
  const printed = async (kind: 'stdout' | 'stderr'): Promise<string> =>
    await printedIn(join(dir, logsDirName, 'user', kind, node, `${process}.${kind}.txt`), record[kind]);
  return { process, start, seconds, status, stdout: await printed('stdout'), stderr: await printed('stderr') };
}

/** The end of it, when it is long; empty when the log is gone. */
async function printedIn(path: string, [from, to]: readonly [number, number]): Promise<string> {
  const begin = Math.max(from, to - limits.shownLogBytes);
  try {
    const file = await open(path, 'r');
    try {
      const buffer = Buffer.alloc(Math.max(0, to - begin));
      return buffer.toString('utf8', 0, await readFully(file, buffer, begin));
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}
