/** Writes JSON Lines files whole: under a temporary name, synced, then renamed. */
import { createHash, type Hash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { temporaryName } from './output-names.ts';
import type { SealedFile } from './sealed-lines.ts';

const flushChars = 262_144;

/** A file being written under a temporary name, digested on the way. */
export class LineFile {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #file: OpenFile;
  readonly #hash: Hash = createHash('sha256');
  #text = '';
  #bytes = 0;
  #lines = 0;
  #isOpen = true;

  private constructor(fileSystem: FileSystem, path: string, file: OpenFile) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#file = file;
  }

  static async create(fileSystem: FileSystem, path: string): Promise<LineFile> {
    return new LineFile(fileSystem, path, await fileSystem.open(temporaryPath(path), 'replace'));
  }

  get lines(): number {
    return this.#lines;
  }

  /** When it returns true, {@link flush} is due before the next line. */
  add(line: string): boolean {
    this.#text += `${line}\n`;
    this.#lines += 1;
    return this.#text.length >= flushChars;
  }

  /** The file has its own name when this resolves; its folder is not synced yet. */
  async finish(): Promise<Omit<SealedFile, 'path'>> {
    await this.flush();
    await this.#file.datasync();
    await this.abandon();
    await this.#fileSystem.rename(temporaryPath(this.#path), this.#path);
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }

  /** Lets go of it, at whatever point a failure came; the temporary file is overwritten by the next try. */
  async abandon(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#file.close();
  }

  async flush(): Promise<void> {
    const bytes = Buffer.from(this.#text, 'utf8');
    this.#text = '';
    this.#hash.update(bytes);
    await this.#file.write([bytes], this.#bytes);
    this.#bytes += bytes.length;
  }
}

function temporaryPath(path: string): string {
  return join(dirname(path), temporaryName(basename(path)));
}
