/** Rows of a job as input of its inner one, which makes the parts of its output: what there is to read, and its bytes. */
import { join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { InputFile } from '../common/core/input.ts';
import { invariant } from '../common/core/invariant.ts';
import { limits } from '../common/core/limits.ts';
import { rowsFileName, type PartFile } from '../common/core/parts-form.ts';
import { noneSkipped } from '../common/core/skipped-names.ts';
import { epilogueOf } from '../common/format/epilogue.ts';
import { prologueBytes } from '../common/format/prologue.ts';
import { ifThere, readText } from '../common/io/if-there.ts';
import type { FileSystem, OpenFile } from '../common/ports/file-system.ts';
import { noBatch, outputSegment } from './core/batch-table.ts';
import { partialOutputName } from './core/generation.ts';
import type { Job } from './core/ledger.ts';
import { partName, partsListName, rowRanges } from './core/parts.ts';
import type { InputListing } from './input/list-input.ts';
import type { OutputPlace } from './output/segments.ts';
import { SegmentWalk } from './output/segments.ts';

/** Where the rows of `outer` are, as a job names its input. */
export function rowsPath(outer: string): string {
  return `rows:${outer}`;
}

/** One file for each range of rows; its identity says which bytes it is. */
export function listRows(outer: Job): InputListing {
  const skipped = noneSkipped();
  async function* pages(): AsyncGenerator<readonly InputFile[], void, void> {
    const around = headOf(outer).length + (await tailOf(outer)).length;
    let page: InputFile[] = [];
    let index = 0;
    for (const { offset, bytes } of rowRanges(outer)) {
      page.push({ path: partName(outer, index), sizeBytes: around + bytes, identity: `rows-${offset}-${bytes}` });
      index += 1;
      if (page.length < limits.manifestChunkFiles) continue;
      yield page;
      page = [];
    }
    if (page.length > 0) yield page;
  }
  return { skipped, [Symbol.asyncIterator]: () => pages() };
}

/**
 * A range of rows as an output of its own: what stands before the first row of the job, the rows, what stands behind the last. From
 * `skip` bytes on. @throws OUTPUT_CORRUPT when the bytes are not those that were committed, and the disk's own errors
 */
export async function* readRows(
  outer: Job,
  { identity }: InputFile,
  skip: number,
  fileSystem: FileSystem,
): AsyncGenerator<Uint8Array, void, void> {
  const [, offset, bytes] = identity.split('-').map(Number);
  invariant(offset !== undefined && bytes !== undefined, `${identity} is a range of rows`);
  let left = skip;
  // What was sent before a connection broke is read again, so that all of it is checked.
  const behind = (piece: Uint8Array): Uint8Array => {
    const rest = piece.subarray(left);
    left -= piece.length - rest.length;
    return rest;
  };
  yield behind(headOf(outer));
  if (bytes > 0) {
    const file = await openRows(outer, fileSystem);
    try {
      for await (const block of checkedBlocks(outer, file, offset, bytes)) {
        const rest = behind(block);
        if (rest.length > 0) yield rest;
      }
    } finally {
      await file.close();
    }
  }
  yield behind(await tailOf(outer));
}

/** What the inner job tells of the parts that it made, by path. @throws OUTPUT_CORRUPT when it is not there as a whole */
export async function readPartsList(inner: Job, fileSystem: FileSystem): Promise<ReadonlyMap<string, PartFile>> {
  const path = join(inner.outputDir, partialOutputName(partsListName, inner.generation));
  const text = (await readText(fileSystem, path)) ?? '';
  const lines = Buffer.from(text).subarray(0, inner.outputCommitted).toString().split('\n').slice(0, -1);
  if (lines.length !== inner.rows) {
    throw new BatchError('OUTPUT_CORRUPT', `${path} should name ${inner.rows} files and names ${lines.length}`);
  }
  const files = lines.map((line) => JSON.parse(line) as PartFile);
  return new Map(files.map((file) => [file.path, file]));
}

function headOf({ schemas, schema }: Job): Uint8Array {
  return prologueBytes(schemas[schema]);
}

async function tailOf({ deployment, schema }: Job): Promise<Uint8Array> {
  return await epilogueOf(deployment.settings, schema >= 0);
}

/** Under the name that it has until the job is complete, or, when an earlier try of sealing came so far, under its own. */
async function openRows({ outputDir, deployment, generation }: Job, fileSystem: FileSystem): Promise<OpenFile> {
  const name = rowsFileName(deployment.settings) as string;
  const partial = join(outputDir, partialOutputName(name, generation));
  const isPartial = await ifThere(fileSystem, partial, () => Promise.resolve(true));
  return await fileSystem.open(isPartial ? partial : join(outputDir, name), 'read');
}

/** Each block is a buffer of its own: the one before may still be on its way. */
async function* checkedBlocks(
  outer: Job,
  file: OpenFile,
  offset: number,
  bytes: number,
): AsyncGenerator<Uint8Array, void, void> {
  const layout = { prologue: new Uint8Array(0), places: placesWithin(outer, offset, bytes) };
  const walk = new SegmentWalk(layout, () => undefined, Number.POSITIVE_INFINITY);
  for (let done = 0; done < bytes;) {
    const block = Buffer.allocUnsafe(Math.min(limits.fetchChunkBytes, bytes - done));
    const count = await file.read(block, offset + done);
    walk.push(block.subarray(0, count));
    if (count < block.length) walk.end();
    const [damaged] = walk.damaged;
    if (damaged) {
      const at = offset + damaged.offset;
      throw new BatchError(
        'OUTPUT_CORRUPT',
        `the rows of job ${outer.name} are not what was committed: bytes ${at} to ${at + damaged.bytes}, of input files ` +
          `${damaged.first} to ${damaged.first + damaged.count - 1}; the disk has changed them, run the job again`,
      );
    }
    yield block;
    done += count;
  }
}

function* placesWithin({ batches }: Job, offset: number, bytes: number): Generator<OutputPlace, void, void> {
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    if (batches.state(batch) !== 'committed') continue;
    const place = batches.place(batch);
    const isWithin = place.segment === outputSegment && place.offset >= offset && place.offset < offset + bytes;
    if (!isWithin || place.length === 0) continue;
    yield {
      first: batches.first(batch),
      count: batches.files(batch),
      rows: batches.rows(batch),
      bytes: place.length,
      crc32: place.crc32,
      isCommitted: true,
    };
  }
}
