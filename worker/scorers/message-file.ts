/** Files of Arrow messages, read one after the other in blocks: streams, and record batches alone. */
import { open, type FileHandle } from 'node:fs/promises';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import {
  messageHead,
  messagePrefixBytes,
  metadataBytesOf,
  type BatchMessage,
  type StreamSchema,
} from '../../common/format/arrow-message.ts';
import { outsideError } from '../../common/io/errno.ts';

export class MessageFile {
  readonly #file: FileHandle;
  readonly #name: string;
  /** Read and not yet taken. */
  #block: Buffer = Buffer.alloc(0);
  /** In the file, of the block's first byte. */
  #at = 0;

  private constructor(file: FileHandle, name: string) {
    this.#file = file;
    this.#name = name;
  }

  /** `name` is for messages. */
  static async open(path: string, name: string): Promise<MessageFile> {
    return new MessageFile(await openToRead(path, name), name);
  }

  /** The first message of a stream. @throws OUTPUT_CORRUPT */
  async schema(): Promise<StreamSchema> {
    return await this.#placed(async () => {
      const { bytes, head } = (await this.#next()) ?? {};
      if (bytes === undefined || head?.kind !== 'schema') throw corrupt('no schema begins there');
      return { message: bytes, schema: head.schema };
    });
  }

  /** Null behind the last one. `endsWith`: what says that it was the last. @throws OUTPUT_CORRUPT */
  async batch(endsWith: 'marker' | 'file'): Promise<BatchMessage | null> {
    return await this.#placed(async () => {
      if (endsWith === 'file' && (await this.#ahead(1)).length === 0) return null;
      const message = await this.#next();
      if (message === null) return await this.#end();
      if (message.head.kind !== 'batch') throw corrupt('a schema stands where rows are expected');
      return { bytes: message.bytes, rows: message.head.rows };
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #next() {
    const metadataBytes = metadataBytesOf(await this.#whole(messagePrefixBytes));
    if (metadataBytes === 0) return null;
    const begin = messagePrefixBytes + metadataBytes;
    const head = messageHead((await this.#whole(begin)).subarray(messagePrefixBytes));
    const length = begin + (head.kind === 'batch' ? head.bodyBytes : 0);
    const bytes = await this.#whole(length);
    this.#block = this.#block.subarray(length);
    this.#at += length;
    return { bytes, head };
  }

  /** Nothing stands behind the marker. */
  async #end(): Promise<null> {
    if ((await this.#ahead(messagePrefixBytes + 1)).length === messagePrefixBytes) return null;
    throw corrupt('more follows behind the end of the stream');
  }

  async #whole(bytes: number): Promise<Buffer> {
    const found = await this.#ahead(bytes);
    if (found.length === bytes) return found;
    throw corrupt(`${bytes} bytes are wanted and ${found.length} are there: the file is cut off`);
  }

  /** The next bytes, which stay the next; fewer at the end of the file. Blocks are never written again. */
  async #ahead(bytes: number): Promise<Buffer> {
    if (this.#block.length < bytes) {
      const { size } = await this.#file.stat();
      const left = size - this.#at;
      const wanted = Math.min(left, Math.max(bytes, limits.partReadBytes));
      const block = Buffer.allocUnsafeSlow(Math.max(wanted, this.#block.length));
      let held = this.#block.copy(block);
      while (held < block.length) {
        const { bytesRead } = await this.#file.read(block, held, block.length - held, this.#at + held);
        if (bytesRead === 0) break;
        held += bytesRead;
      }
      this.#block = block.subarray(0, held);
    }
    return this.#block.subarray(0, bytes);
  }

  /** Where in the file it was. */
  async #placed<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      const found = outsideError(error, `${this.#name} cannot be read`);
      if (found?.code !== 'OUTPUT_CORRUPT') throw found ?? error;
      throw new BatchError('OUTPUT_CORRUPT', `${this.#name}, byte ${this.#at}: ${found.message}`, { cause: error });
    }
  }
}

/** @throws OUTPUT_CORRUPT when it is not there: rows that were staged have vanished */
export async function openToRead(path: string, name: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    throw outsideError(error, `${name} cannot be read`) ?? error;
  }
}

const corrupt = (text: string): BatchError => new BatchError('OUTPUT_CORRUPT', text);
