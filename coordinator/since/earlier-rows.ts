/**
 * The input files of an earlier output beside those of a listing, and where their rows lie: which runs of the listing may take
 * rows from it. Both go forward together in input order, so that nothing but the file at hand is in memory; a listing that goes by a list
 * has an order of its own, and is looked up.
 */
import type { InputFile } from '../../common/core/input.ts';
import { unreadableIdentity } from '../../common/core/input.ts';
import { utf8Compare } from '../../common/core/utf8.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { fileLineSchema, segmentLineSchema, type Manifest } from '../output/manifest-schema.ts';
import type { FileLine, SegmentLine } from '../output/sealed-lines.ts';
import { Findings } from '../verify/findings.ts';
import { isAsSealed, readLines, type Place } from '../verify/sealed-files.ts';

/** Neighbouring files of a page whose rows are neighbours in one segment of the earlier output. */
export interface EarlierRun {
  /** Place of the first of them within the page. */
  readonly at: number;
  readonly files: number;
  readonly segment: SegmentLine;
  /** Whether they are all the files of the segment. */
  readonly isWhole: boolean;
  /** Rows of the segment before theirs, and theirs. */
  readonly rowsBefore: number;
  readonly rows: number;
  readonly fileRows: readonly number[] | null;
}

interface EarlierFile {
  readonly line: FileLine;
  readonly segment: SegmentLine;
  /** Null when it is not known of which rows the files before it in the segment are. */
  readonly rowsBefore: number | null;
}

/** What is looked for: a file, or the part of one that begins with the byte `begin`. */
interface Sought {
  readonly path: string;
  readonly begin: number;
}

interface EarlierFiles {
  find(sought: Sought): Promise<EarlierFile | null>;
}

export interface EarlierRowsOptions {
  readonly fileSystem: FileSystem;
  /** The output folder. */
  readonly dir: string;
  readonly manifest: Manifest;
  /** Whether both listings are in the order of paths. */
  readonly isOrdered: boolean;
}

export class EarlierRows {
  readonly #files: EarlierFiles;
  readonly #findings: Findings;

  private constructor(files: EarlierFiles, findings: Findings) {
    this.#files = files;
    this.#findings = findings;
  }

  static async open({ fileSystem, dir, manifest, isOrdered }: EarlierRowsOptions): Promise<EarlierRows> {
    const findings = new Findings();
    const lines = earlierFiles({ fileSystem, dir, findings, onBytes: () => undefined }, manifest);
    return new EarlierRows(isOrdered ? new InOrder(lines) : await ByPath.read(lines), findings);
  }

  /** What is wrong with the manifest's lines, as far as they were read; null: nothing. */
  get damage(): string | null {
    return this.#findings.list[0]?.message ?? null;
  }

  /** Pages in input order. */
  async runsOf(page: readonly InputFile[]): Promise<readonly EarlierRun[]> {
    const runs: EarlierRun[] = [];
    let open: EarlierFile[] = [];
    const close = (end: number): void => {
      const run = runOf(open, end - open.length);
      if (run !== null) runs.push(run);
      open = [];
    };
    for (const [index, file] of page.entries()) {
      const earlier = await this.#files.find({ path: file.path, begin: file.part?.begin ?? 0 });
      const isSame = earlier !== null && isSameFile(earlier.line, file);
      const last = open.at(-1);
      if (last && !(isSame && isBehind(last, earlier))) close(index);
      if (isSame) open.push(earlier);
    }
    close(page.length);
    return this.damage === null ? runs : [];
  }
}

function isSameFile({ status, identity, size_bytes, part }: FileLine, file: InputFile): boolean {
  const isKnown = file.identity !== unreadableIdentity && file.identity === identity;
  const isSamePart = part?.[0] === file.part?.begin && part?.[1] === file.part?.end;
  return status === 'scored' && isKnown && isSamePart && size_bytes === file.sizeBytes;
}

function isBehind(before: EarlierFile, { line, segment }: EarlierFile): boolean {
  return line.ordinal === before.line.ordinal + 1 && segment.first === before.segment.first;
}

/** Null when there is none, or when its rows cannot be told from those of other files. */
function runOf(files: readonly EarlierFile[], at: number): EarlierRun | null {
  const [first] = files;
  if (first === undefined) return null;
  const { segment, rowsBefore, line } = first;
  const isWhole = line.ordinal === segment.first && files.length === segment.files;
  const known = files.flatMap((file) => file.line.rows ?? []);
  const fileRows = known.length === files.length ? known : null;
  const run = { at, files: files.length, segment, isWhole, fileRows };
  if (isWhole) return { ...run, rowsBefore: 0, rows: segment.rows };
  if (rowsBefore === null || fileRows === null) return null;
  return { ...run, rowsBefore, rows: fileRows.reduce((sum, rows) => sum + rows, 0) };
}

/** The file that was asked for last, and those behind it. */
class InOrder implements EarlierFiles {
  readonly #lines: AsyncIterator<EarlierFile>;
  #next: EarlierFile | null = null;
  #isOver = false;

  constructor(lines: AsyncIterable<EarlierFile>) {
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async find(sought: Sought): Promise<EarlierFile | null> {
    if (isOutOfOrder(sought.path)) return null;
    while (!this.#isOver && (this.#next === null || compare(this.#next.line, sought) < 0)) await this.#advance();
    return this.#next !== null && compare(this.#next.line, sought) === 0 ? this.#next : null;
  }

  async #advance(): Promise<void> {
    const { value, done } = await this.#lines.next();
    this.#isOver = done === true;
    if (done !== true && isOutOfOrder(value.line.path)) return await this.#advance();
    this.#next = done === true ? null : value;
  }
}

/** Parts of a file stand behind each other. */
function compare({ path, part }: FileLine, sought: Sought): number {
  return utf8Compare(path, sought.path) || (part?.[0] ?? 0) - sought.begin;
}

/** Names that are no UTF-8 have lost the bytes that they were ordered by. */
function isOutOfOrder(path: string): boolean {
  return path.includes('\ufffd');
}

function keyOf({ path, begin }: Sought): string {
  return `${begin} ${path}`;
}

class ByPath implements EarlierFiles {
  readonly #files: ReadonlyMap<string, EarlierFile>;

  private constructor(files: ReadonlyMap<string, EarlierFile>) {
    this.#files = files;
  }

  static async read(lines: AsyncIterable<EarlierFile>): Promise<ByPath> {
    const files = new Map<string, EarlierFile>();
    for await (const file of lines) files.set(keyOf({ path: file.line.path, begin: file.line.part?.[0] ?? 0 }), file);
    return new ByPath(files);
  }

  find(sought: Sought): Promise<EarlierFile | null> {
    return Promise.resolve(this.#files.get(keyOf(sought)) ?? null);
  }
}

/** Files that are in a segment, each with its segment. */
async function* earlierFiles(place: Place, manifest: Manifest): AsyncGenerator<EarlierFile, void, void> {
  for await (const { line, segment, rowsBefore } of linesOf(place, manifest)) {
    if (segment !== null) yield { line, segment, rowsBefore };
  }
}

/** A line of the manifest, with the segment that the file's rows are in; null: it is in none. */
interface PlacedLine extends Omit<EarlierFile, 'segment'> {
  readonly segment: SegmentLine | null;
}

/** Every file of a sealed output, in input order; it ends early, with a finding, where the manifest is not what was sealed. */
export async function* linesOf(place: Place, manifest: Manifest): AsyncGenerator<PlacedLine, void, void> {
  const segments = segmentsOf(place, manifest);
  let segment: SegmentLine | null = null;
  let rowsBefore: number | null = 0;
  for (const chunk of manifest.files) {
    if (!(await isAsSealed(place, chunk))) return;
    for await (const { value: line } of readLines(place, chunk, fileLineSchema)) {
      while (segment === null || segment.first + segment.files <= line.ordinal) {
        const next: IteratorResult<SegmentLine, void> = await segments.next();
        if (next.done === true) break;
        segment = next.value;
        rowsBefore = 0;
      }
      const isIn = segment !== null && segment.first <= line.ordinal && line.ordinal < segment.first + segment.files;
      yield { line, segment: isIn ? segment : null, rowsBefore };
      const isUnknown = line.rows === null && line.status === 'scored';
      rowsBefore = rowsBefore === null || isUnknown ? null : rowsBefore + (line.rows ?? 0);
    }
  }
}

/** Without those that have no files: head and end of the output. */
async function* segmentsOf(place: Place, manifest: Manifest): AsyncGenerator<SegmentLine, void, void> {
  for (const chunk of manifest.segments ?? []) {
    if (!(await isAsSealed(place, chunk))) return;
    for await (const { value } of readLines(place, chunk, segmentLineSchema)) if (value.files > 0) yield value;
  }
}
