/** What an installer prints, for people: the line that it is at, its last lines, and the one that says what is wrong. */
import { limits } from '../../common/core/limits.ts';

/** Longest line that is kept; a longer one is no message. */
const lineCharsMax = 400;
const currentCharsMax = 80;

export class InstallerOutput {
  readonly #lines: string[] = [];
  #rest = '';
  #package = '';

  push(text: string): void {
    // A carriage return draws a progress bar anew.
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? '').slice(0, lineCharsMax);
    for (const line of lines) {
      if (line.trim() === '') continue;
      this.#package = /^Collecting (\S{1,200})/.exec(line)?.[1] ?? this.#package;
      this.#lines.push(line.trimEnd().slice(0, lineCharsMax));
    }
    this.#lines.splice(0, Math.max(0, this.#lines.length - limits.environmentLogLinesKept));
  }

  /** The last whole line, short; empty before the first. */
  get current(): string {
    const line = (this.#lines.at(-1) ?? '').trim().replace(/\s+/g, ' ');
    return line.length > currentCharsMax ? `${line.slice(0, currentCharsMax - 1)}…` : line;
  }

  /** What is wrong, in a line: see {@link essentialLine}. Where pip only says "the package above", it is named. */
  get essence(): string {
    const line = essentialLine(this.lastLines);
    const isNameless = /generating package metadata|did not run successfully|package mentioned above/.test(line);
    return isNameless && this.#package !== '' ? `${this.#package} cannot be built from its source: ${line}` : line;
  }

  get lastLines(): readonly string[] {
    return this.#rest.trim() === '' ? this.#lines : [...this.#lines, this.#rest];
  }
}

/**
 * The line that says what is wrong: the first that an installer calls an error (pip `ERROR:`, uv `×` and `error:`, conda
 * `…Error:`, mamba `error    libmamba`), with what continues it; the last line when none does.
 */
export function essentialLine(lines: readonly string[]): string {
  const patterns = [/^\s*×\s*/, /^\s*ERROR:\s*/, /^\s*\w*(?:Error|NotFound|Exception)\b:?\s*/, /^\s*error:?\s+/i];
  for (const pattern of patterns) {
    const at = lines.findIndex((line) => pattern.test(line));
    if (at < 0) continue;
    const line = lines[at] as string;
    // uv goes on below its first line, which is no sentence without it.
    const rest = lines.slice(at + 1);
    const end = rest.findIndex((one) => !/^\s/.test(one));
    const below = rest.slice(0, end < 0 ? undefined : end);
    const said = [
      line.replace(/^\s*(×|ERROR:|error:?\s)\s*/, ''),
      ...below.map((one) => one.replace(/^[\s│╰─▶├]+(cause:\s*)?/, '')),
    ];
    return said.filter((one) => one !== '').join(' ');
  }
  return lines.at(-1)?.trim() ?? '';
}
