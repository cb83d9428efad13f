/**
 * Makes the parts of an output from rows that were scored: each file of a mini-batch is a run of rows, whole with the head and
 * end that its format has, and its name is that of the file to be made. What the scorer gives as rows are the files that it wrote.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { EncodeScorer } from '../../common/core/deployment.ts';
import type { HostFile, HostInit } from '../../common/core/host-protocol.ts';
import { invariant, unreachable } from '../../common/core/invariant.ts';
import type { PartFile } from '../../common/core/parts-form.ts';
import type { BatchMessage } from '../../common/format/arrow-message.ts';
import { encodeValues } from '../../common/format/value-text.ts';
import { outsideError } from '../../common/io/errno.ts';
import { writeArrowPart } from './arrow-part.ts';
import { BatchRows, parquetSource, type BatchSource } from './batch-rows.ts';
import type { HostScorer, Scored } from './host-scorer.ts';
import { MessageFile } from './message-file.ts';
import { writeParquetPart } from './parquet-part.ts';
import { partPath } from './part-writer.ts';
import { partitions } from './partitioned-rows.ts';
import { writeTextParts } from './text-part.ts';

/** Its scores throw OUTPUT_CORRUPT, SCORER_OUTPUT_INVALID for types that a file cannot have, PARTITION_INVALID, DISK_FULL and STATE_UNWRITABLE. */
export function openEncodeScorer({ customDir }: HostInit, scorer: EncodeScorer): Promise<HostScorer> {
  return Promise.resolve({
    score: async (files, port) => {
      const perFile: (readonly PartFile[])[] = [];
      for (const [i, file] of files.entries()) {
        port.begin(i);
        perFile.push(await encodeFile(file, scorer, customDir));
      }
      const { pieces, ...scored } = resultOf(perFile);
      await port.emit(pieces);
      return scored;
    },
    close: () => Promise.resolve(),
  });
}

function encodeFile(file: HostFile, scorer: EncodeScorer, dir: string): Promise<readonly PartFile[]> {
  const { parts } = scorer;
  switch (parts.format) {
    case 'azure':
    case 'csv':
    case 'jsonl':
      return writeTextParts(file, { dir, format: parts.format, form: parts });
    case 'arrow':
    case 'arrow_file':
    case 'parquet':
      return encodeColumns(file, scorer, dir);
    default:
      return unreachable(parts.format);
  }
}

async function encodeColumns(file: HostFile, scorer: EncodeScorer, dir: string): Promise<readonly PartFile[]> {
  const { parts } = scorer;
  const messages = await MessageFile.open(file.path, file.name);
  try {
    const schema = await messages.schema();
    let given = 0;
    const next = async (): Promise<BatchMessage | null> => {
      const message = await messages.batch('marker');
      given += message?.rows ?? 0;
      return message;
    };
    const source = parts.format === 'parquet' ? parquetSource({ schema, next }) : { schema, next };
    const found =
      parts.partitionBy.length === 0
        ? await writeFiles(new BatchRows(source), scorer, dir, partNames(file, ''))
        : await encodePartitions(source, scorer, dir, file);
    const written = found.reduce((sum, { rows }) => sum + rows, 0);
    invariant(written === given, `${file.name}: ${written} rows were written of ${given}`);
    return found;
  } finally {
    await messages.close();
  }
}

async function encodePartitions(
  source: BatchSource,
  scorer: EncodeScorer,
  dir: string,
  file: HostFile,
): Promise<readonly PartFile[]> {
  // On the disk that the parts are for; a failed attempt's folder is cleared of whatever it holds.
  const spoolDir = await makeSpoolDir(dir);
  const found: PartFile[] = [];
  try {
    for await (const partition of partitions(source, scorer.parts.partitionBy, spoolDir)) {
      try {
        found.push(...(await writeFiles(partition.rows, scorer, dir, partNames(file, partition.folder))));
      } finally {
        await partition.close();
      }
    }
  } finally {
    await rm(spoolDir, { recursive: true, force: true });
  }
  return found;
}

async function makeSpoolDir(dir: string): Promise<string> {
  try {
    return await mkdtemp(join(dir, '.rows-'));
  } catch (error) {
    throw outsideError(error, 'rows cannot be put aside') ?? error;
  }
}

/** The path of each file that rows fill, by its number. */
const partNames =
  ({ name }: HostFile, folder: string) =>
  (file: number): string =>
    partPath(name, folder, file);

/** One file, of no rows if there are none, and the next whenever it is full. */
async function writeFiles(
  rows: BatchRows,
  { parts, metadata }: EncodeScorer,
  dir: string,
  pathOf: (file: number) => string,
): Promise<readonly PartFile[]> {
  const rowsMax = parts.fileRows ?? Infinity;
  const found: PartFile[] = [];
  do {
    const part = { dir, path: pathOf(found.length), metadata };
    found.push(
      parts.format === 'parquet'
        ? await writeParquetPart({ ...part, form: parts }, rows, rowsMax)
        : await writeArrowPart(
            { ...part, hasFooter: parts.format === 'arrow_file', batchRows: parts.rowGroupRows },
            rows,
            rowsMax,
          ),
    );
  } while (!(await rows.isDone()));
  return found;
}

/** A line for each file that was written. */
function resultOf(perFile: readonly (readonly PartFile[])[]): Scored & { readonly pieces: Iterable<Uint8Array> } {
  const parts = perFile.flat();
  const names = ['path', 'rows', 'bytes'] as const;
  const cell = (row: number, column: number): unknown => parts[row]?.[names[column] ?? 'path'];
  return {
    ...encodeValues({ kind: 'records', names, rows: parts.length, cell }, 'jsonl'),
    // A part without rows may leave none where there are folders: the file has not failed.
    attribution: 'file',
    fileRows: perFile.map((files) => files.length),
    failed: [],
  };
}
