/** Rows as an Arrow IPC file, which has a footer, or as an IPC stream; small record batches are put together. */
import { MetadataVersion } from 'apache-arrow';
import { FileBlock, Footer } from 'apache-arrow/ipc/metadata/file';
import type { PartFile } from '../../common/core/parts-form.ts';
import { messagePrefixBytes, metadataBytesOf, schemaMessage } from '../../common/format/arrow-message.ts';
import { endOfStream } from '../../common/format/arrow-stream.ts';
import type { BatchRows } from './batch-rows.ts';
import { PartWriter } from './part-writer.ts';

export interface ArrowPart {
  readonly dir: string;
  /** Relative to `dir`. */
  readonly path: string;
  readonly hasFooter: boolean;
  readonly batchRows: number;
  /** Put to what the schema says about itself. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** What a file begins with, padded to 8 bytes, and ends with. @source Arrow columnar format, IPC file format */
const magic = Buffer.from('ARROW1');

/** Writes up to `rowsMax` rows. @throws OUTPUT_CORRUPT, DISK_FULL, STATE_UNWRITABLE */
export async function writeArrowPart(part: ArrowPart, rows: BatchRows, rowsMax: number): Promise<PartFile> {
  const writer = await PartWriter.open(part.dir, part.path);
  try {
    const { schema, message } = schemaMessage(rows.schema.schema, part.metadata);
    if (part.hasFooter) await writer.write(Buffer.concat([magic, Buffer.alloc(2)]));
    await writer.write(message);
    const blocks: FileBlock[] = [];
    let given = 0;
    while (given < rowsMax) {
      const batch = await rows.collect(Math.min(part.batchRows, rowsMax - given));
      if (batch === null) break;
      const headBytes = messagePrefixBytes + metadataBytesOf(batch.bytes);
      blocks.push(new FileBlock(headBytes, batch.bytes.length - headBytes, writer.bytes));
      await writer.write(batch.bytes);
      given += batch.rows;
    }
    await writer.write(endOfStream);
    if (part.hasFooter) {
      const footer = Footer.encode(new Footer(schema, MetadataVersion.V5, blocks, []));
      const length = Buffer.alloc(4);
      length.writeInt32LE(footer.length);
      await writer.write(Buffer.concat([footer, length, magic]));
    }
    return await writer.close(given);
  } finally {
    await writer.abandon();
  }
}
