/** The output file against its segments: they tile it, and each has the checksum that was committed. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { OpenFile } from '../../common/ports/file-system.ts';
import { segmentLineSchema, type Manifest } from '../output/manifest-schema.ts';
import { blocksOf } from '../output/read-blocks.ts';
import type { SealedFile, SegmentLine } from '../output/sealed-lines.ts';
import { hex32 } from '../output/segments.ts';
import { Findings } from './findings.ts';
import { alteredText, isAsSealed, openSealed, readLines, type Place } from './sealed-files.ts';

export interface VerifiedRows {
  readonly segments: number;
  readonly rows: number;
  /** Behind the last segment. */
  readonly bytes: number;
  readonly files: number;
}

/** Null when there are no segments to go by. */
export async function verifyRows(place: Place, manifest: Manifest): Promise<VerifiedRows | null> {
  const { output } = manifest;
  if (output === null) return null;
  const file = await openSealed(place, output.path);
  const reader = file && new RowReader(file, place);
  try {
    const tiled = await verifySegments(place, manifest, reader);
    if (!reader) return tiled;
    await reader.skipToEnd();
    const found = { bytes: reader.bytes, sha256: reader.sha256() };
    const isSame = found.bytes === output.bytes && found.sha256 === output.sha256;
    if (!isSame && reader.damaged === 0) altered(place, output, null, alteredText(output, found));
    else if (found.bytes > output.bytes) {
      altered(place, output, `bytes ${output.bytes} to ${found.bytes}`, alteredText(output, found));
    }
    return tiled;
  } finally {
    await file?.close();
  }
}

async function verifySegments(
  place: Place,
  manifest: Manifest,
  reader: RowReader | null,
): Promise<VerifiedRows | null> {
  if (manifest.segments === undefined) return null;
  const output = manifest.output as SealedFile;
  let segments = 0;
  let rows = 0;
  let bytes = 0;
  let files = 0;
  // A file of segments that is not what was sealed has been told of; what it says is not believed.
  const quiet: Place = { ...place, findings: new Findings() };
  for (const chunk of manifest.segments) {
    if (!(await isAsSealed(quiet, chunk))) return null;
    for await (const { line, value: segment } of readLines(quiet, chunk, segmentLineSchema)) {
      const at = { path: chunk.path, line };
      tile(place, at, 'bytes', segment.offset, segment.bytes, bytes);
      tile(place, at, 'files', segment.first, segment.files, files);
      await reader?.check(segment, output);
      segments += 1;
      rows += segment.rows;
      bytes = Math.max(bytes, segment.offset + segment.bytes);
      files = Math.max(files, segment.first + segment.files);
    }
  }
  return { segments, rows, bytes, files };
}

function tile(
  { findings }: Place,
  { path, line }: { readonly path: string; readonly line: number },
  what: 'bytes' | 'files',
  from: number,
  count: number,
  wanted: number,
): void {
  if (from === wanted) return;
  const where = `line ${line}`;
  const text =
    from > wanted
      ? `${what} ${wanted} to ${from} of the output are in no segment`
      : `the segment of ${what} ${from} to ${from + count} overlaps those before it, which end at ${wanted}`;
  const kind = from > wanted ? 'gap' : 'overlap';
  findings.add({ code: 'MANIFEST_INVALID', kind, path, place: where, message: `${path}, ${where}: ${text}` });
}

function altered({ findings }: Place, { path }: SealedFile, place: string | null, message: string): void {
  findings.add({ code: 'OUTPUT_CORRUPT', kind: 'altered', path, place, message });
}

/** Reads the output once, in order, a segment at a time. */
class RowReader {
  bytes = 0;
  damaged = 0;
  readonly #place: Place;
  readonly #blocks: AsyncIterator<Uint8Array>;
  readonly #hash = createHash('sha256');
  #rest: Uint8Array = new Uint8Array(0);

  constructor(file: OpenFile, place: Place) {
    this.#place = place;
    this.#blocks = blocksOf(file)[Symbol.asyncIterator]();
  }

  async check(segment: SegmentLine, output: SealedFile): Promise<void> {
    // Ranges that do not tile have been told of, and cannot be read in one go.
    if (segment.offset !== this.bytes) return;
    let left = segment.bytes;
    let sum = 0;
    while (left > 0 && (await this.#fill())) {
      const part = this.#rest.subarray(0, left);
      sum = crc32(part, sum);
      this.#take(part.length);
      left -= part.length;
    }
    if (left === 0 && hex32(sum) === segment.crc32) return;
    this.damaged += 1;
    const { offset, bytes, first, files } = segment;
    const where = `bytes ${offset} to ${offset + bytes}`;
    const whose =
      files === 0
        ? offset === 0
          ? 'the text before the first row'
          : 'the end behind the last row'
        : `rows of input files ${first} to ${first + files - 1}`;
    const what =
      left > 0
        ? `the file ends at ${this.bytes}, within ${where} (${whose})`
        : `${where} (${whose}) have CRC-32 ${hex32(sum)}, ${segment.crc32} was committed`;
    altered(this.#place, output, where, `${output.path}: ${what}`);
  }

  async skipToEnd(): Promise<void> {
    while (await this.#fill()) this.#take(this.#rest.length);
  }

  sha256(): string {
    return this.#hash.digest('hex');
  }

  async #fill(): Promise<boolean> {
    if (this.#rest.length > 0) return true;
    const next = await this.#blocks.next();
    if (next.done === true) return false;
    this.#rest = next.value;
    this.#place.onBytes(next.value.length);
    return true;
  }

  #take(count: number): void {
    this.#hash.update(this.#rest.subarray(0, count));
    this.#rest = this.#rest.subarray(count);
    this.bytes += count;
  }
}
