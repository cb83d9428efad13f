/** JSON that others have written, which may be anything. */

/** Undefined for a text that is no JSON, which no text of JSON stands for. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
