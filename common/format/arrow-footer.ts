/**
 * The footer of an Arrow file: where its dictionaries and record batches stand, each a message as in a stream. Read by hand, as nobody
 * else says where they are.
 * @source Arrow columnar format, IPC file format; File.fbs: Footer, Block
 */

/** `ARROW1`, at either end of a file. */
const magic = [0x41, 0x52, 0x52, 0x4f, 0x57, 0x31] as const;
/** Of a block: offset, bytes of metadata, bytes of body. */
const blockBytes = 24;
/** Behind the footer: its length and the magic. */
export const footerTailBytes = 10;
/** Before the first message: the magic and two bytes of padding. */
export const fileHeadBytes = 8;

/** A message within the file. */
export interface MessageBlock {
  readonly offset: number;
  readonly metadataBytes: number;
  readonly bodyBytes: number;
}

export interface ArrowFooter {
  readonly dictionaries: readonly MessageBlock[];
  readonly batches: readonly MessageBlock[];
}

export const blockEnd = ({ offset, metadataBytes, bodyBytes }: MessageBlock): number =>
  offset + metadataBytes + bodyBytes;

/** Bytes of the footer, from the last {@link footerTailBytes} of a file; null where it is no Arrow file, but perhaps a stream. */
export function footerBytesOf(tail: Uint8Array): number | null {
  if (tail.length < footerTailBytes || !magic.every((byte, i) => tail[tail.length - magic.length + i] === byte))
    return null;
  const view = new DataView(tail.buffer, tail.byteOffset + tail.length - footerTailBytes, footerTailBytes);
  const bytes = view.getInt32(0, true);
  return bytes > 0 ? bytes : null;
}

/** @throws RangeError for what is no footer */
export function readFooter(footer: Uint8Array): ArrowFooter {
  const view = new DataView(footer.buffer, footer.byteOffset, footer.byteLength);
  const table = view.getUint32(0, true);
  return { dictionaries: blocks(view, table, 2), batches: blocks(view, table, 3) };
}

/** The same footer of a file that has only `count` of the record batches, from the `first` on. @throws RangeError */
export function footerOf(footer: Uint8Array, first: number, count: number): Uint8Array {
  const own = Uint8Array.from(footer);
  const view = new DataView(own.buffer);
  const place = listPlace(view, view.getUint32(0, true), 3);
  if (place === null) throw new RangeError('there are no record batches');
  const begin = place + 4;
  own.copyWithin(begin, begin + first * blockBytes, begin + (first + count) * blockBytes);
  view.setUint32(place, count, true);
  return own;
}

/** Blocks of the `n`th field of a table. */
function blocks(view: DataView, table: number, n: number): MessageBlock[] {
  const list = listPlace(view, table, n);
  if (list === null) return [];
  const count = view.getUint32(list, true);
  if (list + 4 + count * blockBytes > view.byteLength) throw new RangeError('more blocks are counted than there are');
  return Array.from({ length: count }, (_, i) => {
    const block = list + 4 + i * blockBytes;
    return {
      offset: Number(view.getBigInt64(block, true)),
      metadataBytes: view.getInt32(block + 8, true),
      bodyBytes: Number(view.getBigInt64(block + 16, true)),
    };
  });
}

/** Where a list begins with its length; null where the table has none. */
function listPlace(view: DataView, table: number, n: number): number | null {
  const fields = table - view.getInt32(table, true);
  const at = 4 + 2 * n;
  const place = at < view.getUint16(fields, true) ? view.getUint16(fields + at, true) : 0;
  return place === 0 ? null : table + place + view.getUint32(table + place, true);
}
