/**
 * An earlier output of the same input, as it would have been sealed, from which the simulated job takes rows: some files were others
 * then, some are gone since, and of some mini-batches nobody knows which row is of which file. Made by hand, and not by what seals outputs.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Deployment } from '../../common/core/deployment.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { Since } from '../../coordinator/core/since.ts';
import { earlierOutput } from '../../coordinator/since/earlier-output.ts';
import { scoredWith } from '../../coordinator/since/scored-with.ts';
import { sizeOf, type Plan } from './plan.ts';
import { columns, prologue, rowOf, type SimInput } from './sim-input.ts';

/** How an earlier output differs from what the job is to make. */
export interface EarlierPlan {
  /** Of ten files, so many are the same as they were. */
  readonly same: number;
  /** Of ten files, so many were followed by one that is gone. */
  readonly gone: number;
  readonly segmentFiles: number;
  /** Each segment that is divisible by it tells rows only as a whole; 0: none. */
  readonly opaqueEvery: number;
}

export const earlierDir = '/earlier';

interface EarlierFile {
  readonly path: string;
  readonly identity: string;
  readonly size: number;
  readonly row: Buffer;
  /** Of the input now; null: it is gone, or another. */
  readonly file: number | null;
}

/** Null where the job is to score everything. */
export function earlierPlan({ earlier, settings }: Plan): EarlierPlan | null {
  // Which files are given up together follows from where the listing is cut, and taken rows cut it too.
  return settings.isolation === 'mini_batch' ? null : earlier;
}

/** Files whose rows must be taken, and how many others may be: their rows are told for more than one of them. */
export interface Takable {
  readonly surely: readonly number[];
  readonly perhaps: number;
}

/** Of an input that nobody has mended yet. */
export function takable(plan: Plan, input: SimInput): Takable {
  const how = earlierPlan(plan);
  if (how === null) return { surely: [], perhaps: 0 };
  const segments = segmentsOf(plan, how, input);
  const filesOf = (files: readonly EarlierFile[]): readonly number[] => files.flatMap(({ file }) => file ?? []);
  const told = segments.filter((_, index) => !isOpaque(how, index));
  const surely = told.flatMap(filesOf);
  return { surely, perhaps: segments.flatMap(filesOf).length - surely.length };
}

function isOpaque({ opaqueEvery }: EarlierPlan, segment: number): boolean {
  return opaqueEvery > 0 && segment % opaqueEvery === 0;
}

function segmentsOf(plan: Plan, how: EarlierPlan, input: SimInput): readonly (readonly EarlierFile[])[] {
  const bytesOf = sizeOf(plan);
  const drawn = (file: number, salt: number): number => (Math.imul(file + plan.seed + salt, 0x9e3779b1) >>> 8) % 10;
  const files: EarlierFile[] = [];
  for (let file = 0; file < plan.files; file += 1) {
    const path = `f${String(file).padStart(4, '0')}`;
    const mayBe = input.fateOf(file) === 'fine' && input.customBytes(file) === 0;
    const isSame = mayBe && drawn(file, 1) < how.same;
    const [identity, size] = [isSame ? `${bytesOf(file)}-0` : 'another', bytesOf(file)];
    const row = isSame ? rowOf(file, input.rowsBytes(file)) : Buffer.from('another\n');
    files.push({ path, identity, size, row, file: isSame ? file : null });
    if (drawn(file, 2) < how.gone)
      files.push({ path: `${path}-gone`, identity: 'gone', size: 1, row: Buffer.from('gone\n'), file: null });
  }
  const segments: EarlierFile[][] = [];
  for (let first = 0; first < files.length; first += how.segmentFiles)
    segments.push(files.slice(first, first + how.segmentFiles));
  return segments;
}

export interface EarlierOptions {
  readonly plan: Plan;
  readonly input: SimInput;
  readonly deployment: Deployment;
  readonly inputPath: string;
  /** Of the job, for what is cut out. */
  readonly takenPath: string;
}

/** Puts it on the disk, and finds that rows can be taken from it; null where the job is to score everything. */
export async function sinceOf(options: EarlierOptions, fileSystem: FileSystem): Promise<Since | null> {
  const { plan, input, deployment, inputPath, takenPath } = options;
  const how = earlierPlan(plan);
  if (how === null) return null;
  await writeEarlier(fileSystem, segmentsOf(plan, how, input), how, deployment, inputPath);
  return await earlierOutput({ dir: earlierDir, deployment, inputPath, takenPath, fileSystem });
}

/** A crash may leave it in part: then it is made again. */
async function writeEarlier(
  fileSystem: FileSystem,
  segments: readonly (readonly EarlierFile[])[],
  how: EarlierPlan,
  deployment: Deployment,
  inputPath: string,
): Promise<void> {
  const head = Buffer.from(prologue);
  const pieces = [head];
  const segmentLines = [segmentLine(0, head, 0, 0, 0)];
  const fileLines: string[] = [];
  let offset = head.length;
  for (const [index, files] of segments.entries()) {
    const first = fileLines.length;
    for (const { path, size, identity } of files) {
      fileLines.push(
        JSON.stringify({
          ...{ ordinal: fileLines.length, path, size_bytes: size, identity, status: 'scored' },
          ...{ rows: isOpaque(how, index) ? null : 1, mini_batch: [first, files.length] },
          ...{ attempt: '1.1', attempts: 1, node: 'node-0', code: null },
        }),
      );
    }
    const rows = Buffer.concat(files.map(({ row }) => row));
    segmentLines.push(segmentLine(offset, rows, first, files.length, files.length));
    pieces.push(rows);
    offset += rows.length;
  }
  const output = Buffer.concat(pieces);
  const chunks = { files: textOf(fileLines), segments: textOf(segmentLines) };
  await fileSystem.makeDir(`${earlierDir}/_manifest`);
  await fileSystem.syncDir('/');
  await put(fileSystem, `${earlierDir}/rows.csv`, output);
  await put(fileSystem, `${earlierDir}/_manifest/files-00000.jsonl`, chunks.files);
  await put(fileSystem, `${earlierDir}/_manifest/segments-00000.jsonl`, chunks.segments);
  await fileSystem.syncDir(`${earlierDir}/_manifest`);
  const chunkOf = (name: 'files' | 'segments', lines: readonly string[]) => [
    { ...sealed(`_manifest/${name}-00000.jsonl`, chunks[name]), lines: lines.length },
  ];
  const manifest = {
    ...{ format: 3, name: 'earlier', batchmill: 'sim', deployment: { ...deployment, environment: undefined } },
    ...{ scored_with: scoredWith(deployment), columns, since: null, settings: deployment.settings },
    ...{ input_path: inputPath, created_at: time, started_at: time, ended_at: time, error: null },
    counts: { files: { total: fileLines.length, scored: 0, failed: 0, skipped: 0 }, mini_batches: 1, rows: 1 },
    ...{ generation: 1, verdict: 'Completed', output: sealed('rows.csv', output), errors: null, signed_by: null },
    ...{ files: chunkOf('files', fileLines), segments: chunkOf('segments', segmentLines) },
    ...{ custom_files: [], custom_chunks: [], custom_counts: { files: 0, bytes: 0, overwritten: 0, error: null } },
  };
  await put(fileSystem, `${earlierDir}/_manifest.json`, Buffer.from(JSON.stringify(manifest)));
  await fileSystem.syncDir(earlierDir);
}

const time = '2026-01-01T00:00:00.000Z';

function segmentLine(offset: number, rows: Buffer, first: number, files: number, count: number): string {
  const crc = (crc32(rows) >>> 0).toString(16).padStart(8, '0');
  return JSON.stringify({ offset, bytes: rows.length, crc32: crc, first, files, rows: count, mini_batches: 1 });
}

function textOf(lines: readonly string[]): Buffer {
  return Buffer.from(`${lines.join('\n')}\n`);
}

function sealed(path: string, bytes: Buffer) {
  return { path, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

async function put(fileSystem: FileSystem, path: string, bytes: Buffer): Promise<void> {
  const file = await fileSystem.open(path, 'replace');
  try {
    await file.write([bytes], 0);
    await file.datasync();
  } finally {
    await file.close();
  }
}
