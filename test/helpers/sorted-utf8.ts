/** The order that everything is held against: bytes, compared by Node. */
export function sortedUtf8(texts: readonly string[]): readonly string[] {
  return texts.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
