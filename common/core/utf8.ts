/** Bytes of `text` in UTF-8; pure TypeScript, because this file has no platform. */
export function utf8Length(text: string): number {
  let length = 0;
  for (const symbol of text) {
    const point = symbol.codePointAt(0) as number;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
  }
  return length;
}

/** Negative, 0 or positive, as `a` stands before, at or behind `b` in the order of their UTF-8 bytes. */
export function utf8Compare(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let index = 0; index < shorter; index += 1) {
    const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (left !== right) return byteOrder(left) - byteOrder(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for characters whose bytes come behind those of all other code units. */
function byteOrder(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
