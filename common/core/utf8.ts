/** Bytes of `text` in UTF-8; pure TypeScript, because this file has no platform. */
export function utf8Length(text: string): number {
  let length = 0;
  for (const symbol of text) {
    const point = symbol.codePointAt(0) as number;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
  }
  return length;
}
