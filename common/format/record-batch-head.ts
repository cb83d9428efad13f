/**
 * The head of a record batch, read where it stands: how many rows, how many bytes of body, and whether all that it names lies
 * within them. Done by hand, as a general reader believes each count that it finds.
 * @source Arrow: Message.fbs; FlatBuffers: a table begins with the distance to its list of places of fields
 */

/** @source Arrow: MessageHeader of Message.fbs */
const headerNames = ['nothing', 'schema', 'dictionary batch', 'record batch', 'tensor', 'sparse tensor'] as const;
export type HeaderName = (typeof headerNames)[number];

/** Of a node (rows, nulls) and of a buffer (place, length). */
const structBytes = 16;

export interface BatchHead {
  readonly header: HeaderName;
  /** 0 for other messages than record batches. */
  readonly rows: number;
  readonly bodyBytes: number;
  /** Each buffer lies within the body. */
  readonly isWithin: boolean;
}

/** @throws RangeError where something lies outside of the metadata */
export function batchHead(metadata: Uint8Array): BatchHead {
  const view = new DataView(metadata.buffer, metadata.byteOffset, metadata.byteLength);
  const message = view.getUint32(0, true);
  const kind = field(view, message, 1);
  const header = headerNames[kind === null ? 0 : view.getUint8(kind)] ?? 'nothing';
  const bodyBytes = long(view, field(view, message, 3));
  const place = field(view, message, 2);
  if (header !== 'record batch' || place === null) return { header, rows: 0, bodyBytes, isWithin: true };
  const batch = place + view.getUint32(place, true);
  const rows = long(view, field(view, batch, 0));
  let isWithin = rows >= 0 && bodyBytes >= 0 && bodyBytes % 8 === 0;
  for (const node of structs(view, field(view, batch, 1))) isWithin &&= long(view, node) >= 0;
  for (const buffer of structs(view, field(view, batch, 2))) {
    const [offset, length] = [long(view, buffer), long(view, buffer + 8)];
    isWithin &&= offset >= 0 && length >= 0 && offset + length <= bodyBytes;
  }
  return { header, rows, bodyBytes, isWithin };
}

/** Where the `n`th field of a table stands; null where it has its default. */
function field(view: DataView, table: number, n: number): number | null {
  const list = table - view.getInt32(table, true);
  const at = 4 + 2 * n;
  const offset = at < view.getUint16(list, true) ? view.getUint16(list + at, true) : 0;
  return offset === 0 ? null : table + offset;
}

function structs(view: DataView, place: number | null): number[] {
  if (place === null) return [];
  const list = place + view.getUint32(place, true);
  const count = view.getUint32(list, true);
  if (list + 4 + count * structBytes > view.byteLength) throw new RangeError('more are counted than there are');
  return Array.from({ length: count }, (_, i) => list + 4 + i * structBytes);
}

function long(view: DataView, place: number | null): number {
  return place === null ? 0 : Number(view.getBigInt64(place, true));
}
