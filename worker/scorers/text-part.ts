/** Rows as the text that they are already, cut where a file has as many as it is to have. */
import type { FileHandle } from 'node:fs/promises';
import { BatchError } from '../../common/core/batch-error.ts';
import type { TextFormat } from '../../common/core/deployment.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import type { PartFile, PartsForm } from '../../common/core/parts-form.ts';
import { RowEnds } from '../../common/format/row-ends.ts';
import { openToRead } from './message-file.ts';
import { partPath, PartWriter } from './part-writer.ts';

export interface TextParts {
  readonly dir: string;
  readonly format: TextFormat;
  readonly form: Pick<PartsForm, 'header' | 'fileRows'>;
}

/**
 * Copies the rows of `input`. In `azure` a row is a line. @throws OUTPUT_CORRUPT when the last row has no end
 */
export async function writeTextParts(input: HostFile, { dir, format, form }: TextParts): Promise<readonly PartFile[]> {
  const file = await openToRead(input.path, input.name);
  const output = new Output(input.name, dir, form.fileRows ?? Infinity);
  const ends = new RowEnds(format === 'csv');
  let isHeader = format === 'csv' && form.header;
  try {
    for await (const block of blocksOf(file)) {
      let at = 0;
      while (at < block.length) {
        const { rows, end } = ends.scan(block, at, isHeader ? 1 : await output.room());
        const bytes = block.subarray(at, end);
        if (isHeader) output.addHeader(bytes);
        else await output.write(bytes, rows);
        if (rows > 0) isHeader = false;
        at = end;
      }
    }
    if (ends.isWithin) throw new BatchError('OUTPUT_CORRUPT', `${input.name} ends within a row: the file is cut off`);
    return await output.end();
  } finally {
    await output.close();
    await file.close();
  }
}

async function* blocksOf(file: FileHandle): AsyncGenerator<Buffer> {
  for (;;) {
    const block = Buffer.allocUnsafeSlow(limits.partReadBytes);
    const { bytesRead } = await file.read(block, 0, block.length);
    if (bytesRead === 0) return;
    yield block.subarray(0, bytesRead);
  }
}

/** The files, each opened when there is a row for it; the first in any case. */
class Output {
  readonly #name: string;
  readonly #dir: string;
  readonly #rowsMax: number;
  readonly #files: PartFile[] = [];
  #header = Buffer.alloc(0);
  #writer: PartWriter | null = null;
  #rows = 0;

  constructor(name: string, dir: string, rowsMax: number) {
    this.#name = name;
    this.#dir = dir;
    this.#rowsMax = rowsMax;
  }

  addHeader(bytes: Uint8Array): void {
    this.#header = Buffer.concat([this.#header, bytes]);
  }

  /** Rows that the open file still takes; at least one, as a full one makes way for the next. */
  async room(): Promise<number> {
    if (this.#rows === this.#rowsMax) await this.#finish();
    return this.#rowsMax - this.#rows;
  }

  async write(bytes: Uint8Array, rows: number): Promise<void> {
    const writer = await this.#opened();
    await writer.write(bytes);
    this.#rows += rows;
  }

  async end(): Promise<readonly PartFile[]> {
    if (this.#files.length === 0) await this.#opened();
    await this.#finish();
    return this.#files;
  }

  async close(): Promise<void> {
    await this.#writer?.abandon();
  }

  async #opened(): Promise<PartWriter> {
    if (this.#writer === null) {
      this.#writer = await PartWriter.open(this.#dir, partPath(this.#name, '', this.#files.length));
      await this.#writer.write(this.#header);
    }
    return this.#writer;
  }

  async #finish(): Promise<void> {
    if (this.#writer !== null) this.#files.push(await this.#writer.close(this.#rows));
    this.#writer = null;
    this.#rows = 0;
  }
}
