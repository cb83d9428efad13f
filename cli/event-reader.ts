/** Reads server-sent events from text as it arrives. @source HTML Living Standard, server-sent events */

export interface ServerSentEvent {
  /** `message` when the stream does not say. */
  readonly event: string;
  readonly data: string;
  readonly id: string | null;
}

/** Feed it text in any pieces; it gives the events that have become whole. Comments and `retry` are dropped. */
export class EventReader {
  #text = '';

  push(text: string): ServerSentEvent[] {
    this.#text = (this.#text + text).replaceAll('\r\n', '\n');
    const blocks = this.#text.split('\n\n');
    this.#text = blocks.pop() ?? '';
    return blocks.map(parseBlock).filter((event) => event !== null);
  }
}

function parseBlock(block: string): ServerSentEvent | null {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    const before = name === 'data' ? fields.get('data') : undefined;
    fields.set(name, before === undefined ? value : `${before}\n${value}`);
  }
  const data = fields.get('data');
  return data === undefined ? null : { event: fields.get('event') ?? 'message', data, id: fields.get('id') ?? null };
}
