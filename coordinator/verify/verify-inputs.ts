/** Input files as they are now against what was listed, many at a time. */
import { limits } from '../../common/core/limits.ts';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { isConfined } from '../../common/storage/confine.ts';
import type { StatFiles } from '../input/stat-files.ts';
import type { FileLine } from '../output/sealed-lines.ts';
import type { Findings } from './findings.ts';

export interface InputCheckOptions {
  /** Folder that the paths are relative to. */
  readonly base: string;
  readonly statFiles: StatFiles;
  readonly findings: Findings;
}

export class InputCheck {
  checked = 0;
  readonly #options: InputCheckOptions;
  #page: FileLine[] = [];

  constructor(options: InputCheckOptions) {
    this.#options = options;
  }

  async take(line: FileLine): Promise<void> {
    // What could not be looked at when it was listed has nothing to be held against.
    if (line.identity === unreadableIdentity || !isConfined(line.path)) return;
    // Parts of a file have one identity: it is looked at with the first of them.
    if (line.part !== undefined && line.part[0] > 0) return;
    this.#page.push(line);
    if (this.#page.length >= limits.verifyStatsAtOnce) await this.flush();
  }

  async flush(): Promise<void> {
    const page = this.#page;
    this.#page = [];
    if (page.length === 0) return;
    const paths = page.map(({ path }) => path);
    const found = await this.#options.statFiles(this.#options.base, paths);
    page.forEach((line, index) => this.#compare(line, found[index] as InputFile));
    this.checked += page.length;
  }

  #compare(line: FileLine, found: InputFile): void {
    if (found.identity === line.identity) return;
    const { findings } = this.#options;
    const where = { path: line.path, place: `file ${line.ordinal}` };
    if (found.identity === unreadableIdentity) {
      const message = `${line.path} (file ${line.ordinal}) is gone or cannot be looked at`;
      findings.add({ code: 'INPUT_UNREADABLE', kind: 'missing', ...where, message });
      return;
    }
    const what =
      found.sizeBytes === line.size_bytes || line.part !== undefined
        ? `was modified since it was listed (${line.identity} then, ${found.identity} now)`
        : `had ${line.size_bytes} bytes when it was listed, ${found.sizeBytes} now`;
    const message = `${line.path} (file ${line.ordinal}) ${what}`;
    findings.add({ code: 'INPUT_CHANGED', kind: 'altered', ...where, message });
  }
}
