/**
 * A ledger's image as bytes, little endian, in blocks: length of the head u32, length of the body u64, head (UTF-8 JSON), body.
 *
 * The first block has no body; its head has the format version. Each job is a block whose head is what JSON can say of it and
 * names its columns, which are the body, followed by blocks of failed files as JSON. Nothing here is checked against damage:
 * that is for the file around it.
 */
import { endianness } from 'node:os';
import { BatchError } from '../../common/core/batch-error.ts';
import { invariant } from '../../common/core/invariant.ts';
import { newColumns, type BatchColumns } from '../core/batch-columns.ts';
import type { FailedFile } from '../core/ledger.ts';
import type {
  CustomColumns,
  JobHeader,
  JobImage,
  LedgerHeader,
  LedgerImage,
  SuspicionImage,
} from '../core/ledger-image.ts';

/** Changes by addition only: a field or column that an image lacks keeps the meaning that its absence had. */
export const imageVersion = 1;

const blockHeaderBytes = 12;
/** Failed files of one block: some hundred kilobytes of text, made without holding up the event loop. */
const failuresPerBlock = 500;

const noRegistry: LedgerImage['registry'] = { tag: 0, stored: [], earlier: [] };

interface ImageHead {
  readonly version: number;
  readonly ledger: LedgerHeader;
  readonly known: LedgerImage['known'];
  /** Absent in the snapshots of older releases. */
  readonly learned?: LedgerImage['learned'];
  /** Absent in the snapshots of older releases. */
  readonly registry?: LedgerImage['registry'];
  readonly jobs: number;
}

interface JobHead {
  readonly job: JobHeader;
  readonly bases: JobImage['bases'];
  readonly segments: JobImage['segments'];
  readonly suspicion: SuspicionImage;
  /** Both are absent in the snapshots of older releases. */
  readonly health?: JobImage['health'];
  readonly sick?: JobImage['sick'];
  /** Absent in the snapshots of older releases. */
  readonly shadowed?: JobImage['shadowed'];
  readonly head: number;
  readonly tail: number;
  /** In the order of the body. */
  readonly columns: readonly ColumnHead[];
  readonly failures: number;
}

interface ColumnHead {
  readonly name: string;
  readonly count: number;
}

type Column =
  | Uint8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>;
type AnyColumn = Column | Int16Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** Pieces of any size, made one by one as they are asked for; `image` must not be changed meanwhile. */
export function* encodeImage(image: LedgerImage): Generator<Uint8Array> {
  invariant(endianness() === 'LE', 'columns are written as they lie in memory, which must be little endian');
  const {
    header,
    known,
    learned,
    registry,
    jobs: { length },
  } = image;
  const head: ImageHead = { version: imageVersion, ledger: header, known, learned, registry, jobs: length };
  yield blockHead(head, 0);
  for (const job of image.jobs) {
    const columns = columnsOf(job);
    const body = columns.map(([, column]) => bytesOf(column));
    yield blockHead(
      jobHead(job, columns),
      body.reduce((sum, bytes) => sum + bytes.length, 0),
    );
    yield* body;
    for (let first = 0; first < job.failures.length; first += failuresPerBlock) {
      const text = Buffer.from(JSON.stringify(job.failures.slice(first, first + failuresPerBlock)));
      yield blockHead({}, text.length);
      yield text;
    }
  }
}

/** @throws JOURNAL_VERSION, and an error of any kind when these are not the bytes of an image */
export function decodeImage(bytes: Buffer): LedgerImage {
  invariant(endianness() === 'LE', 'columns are read as they lie in memory, which must be little endian');
  const reader = new BlockReader(bytes);
  const head = reader.next().head as ImageHead;
  if (head.version > imageVersion) {
    throw new BatchError(
      'JOURNAL_VERSION',
      `the snapshot has format ${head.version}, this release reads up to ${imageVersion}; ` +
        'start a release at least as new as the one that wrote it',
    );
  }
  const jobs = Array.from({ length: head.jobs }, () => decodeJob(reader));
  reader.end();
  return {
    header: head.ledger,
    known: head.known,
    learned: head.learned ?? [],
    registry: head.registry ?? noRegistry,
    jobs,
  };
}

function columnsOf({
  batches,
  custom,
  shadowCounts,
  fileRows,
  fileBytes,
}: Pick<JobImage, 'batches' | 'custom' | 'shadowCounts' | 'fileRows' | 'fileBytes'>): readonly (readonly [
  string,
  AnyColumn,
])[] {
  const named = (prefix: string, columns: object): (readonly [string, AnyColumn])[] =>
    Object.entries(columns).map(([name, column]) => [`${prefix}.${name}`, column as AnyColumn]);
  return [
    ...named('batch', batches.columns),
    ...named('custom', custom),
    ...named('job', shadowCounts.length > 0 ? { shadowCounts } : {}),
    ['fileRows', fileRows],
    ['fileBytes', fileBytes],
  ];
}

function jobHead(image: JobImage, columns: readonly (readonly [string, AnyColumn])[]): JobHead {
  const { header, bases, segments, suspicion, health, sick, shadowed, batches, failures } = image;
  return {
    job: header,
    bases,
    segments,
    suspicion,
    health,
    sick,
    shadowed,
    head: batches.head,
    tail: batches.tail,
    columns: columns.map(([name, column]) => ({ name, count: column.length })),
    failures: failures.length,
  };
}

function decodeJob(reader: BlockReader): JobImage {
  const block = reader.next();
  const {
    job,
    bases,
    segments,
    suspicion,
    health = [],
    sick = [],
    shadowed = null,
    head,
    tail,
    columns,
    failures,
  } = block.head as JobHead;
  const count = columns.find(({ name }) => name === 'batch.first')?.count ?? 0;
  const customCount = columns.find(({ name }) => name === 'custom.batch')?.count ?? 0;
  const fileRows = new Uint32Array(columns.find(({ name }) => name === 'fileRows')?.count ?? 0);
  const shadowCounts = new Uint32Array(columns.find(({ name }) => name === 'job.shadowCounts')?.count ?? 0);
  const fileBytes = new Float32Array(columns.find(({ name }) => name === 'fileBytes')?.count ?? 0);
  const batch: BatchColumns = newColumns(count);
  const custom: CustomColumns = {
    batch: new Uint32Array(customCount),
    segment: new Int32Array(customCount),
    offset: new Float64Array(customCount),
    length: new Float64Array(customCount),
    crc32: new Uint32Array(customCount),
  };
  const places = new Map(
    columnsOf({ batches: { head, tail, columns: batch }, custom, shadowCounts, fileRows, fileBytes }),
  );
  let at = 0;
  for (const column of columns) {
    const target = places.get(column.name);
    invariant(target?.length === column.count, `column ${column.name} of job ${job.name} is not known`);
    const into = bytesOf(target);
    into.set(block.body.subarray(at, at + into.length));
    at += into.length;
  }
  invariant(at === block.body.length, `the columns of job ${job.name} have ${block.body.length} bytes, not ${at}`);
  const failed: FailedFile[] = [];
  while (failed.length < failures) {
    for (const one of JSON.parse(reader.next().body.toString()) as FailedFile[]) failed.push(one);
  }
  return {
    header: job,
    bases,
    segments,
    suspicion,
    health,
    sick,
    batches: { head, tail, columns: batch },
    fileRows,
    fileBytes,
    custom,
    shadowed,
    shadowCounts,
    failures: failed,
  };
}

function bytesOf(column: AnyColumn): Uint8Array {
  return new Uint8Array(column.buffer, column.byteOffset, column.byteLength);
}

function blockHead(head: object, bodyBytes: number): Uint8Array {
  const text = Buffer.from(JSON.stringify(head));
  const bytes = Buffer.alloc(blockHeaderBytes + text.length);
  bytes.writeUInt32LE(text.length, 0);
  bytes.writeBigUInt64LE(BigInt(bodyBytes), 4);
  text.copy(bytes, blockHeaderBytes);
  return bytes;
}

class BlockReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  next(): { readonly head: unknown; readonly body: Buffer } {
    const headBytes = this.#bytes.readUInt32LE(this.#at);
    const bodyBytes = Number(this.#bytes.readBigUInt64LE(this.#at + 4));
    const headAt = this.#at + blockHeaderBytes;
    const bodyAt = headAt + headBytes;
    invariant(bodyAt + bodyBytes <= this.#bytes.length, 'a block of a snapshot ends behind its end');
    this.#at = bodyAt + bodyBytes;
    const head: unknown = JSON.parse(this.#bytes.toString('utf8', headAt, bodyAt));
    return { head, body: this.#bytes.subarray(bodyAt, this.#at) };
  }

  end(): void {
    invariant(this.#at === this.#bytes.length, 'something follows the last block of a snapshot');
  }
}
