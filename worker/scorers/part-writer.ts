/** One file of an output, below a scoring host's custom folder. */
import { open, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { PartFile } from '../../common/core/parts-form.ts';
import { outsideError } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { writeAll } from '../../common/io/write-all.ts';

/** Bytes that are written in their order. @throws DISK_FULL, STATE_UNWRITABLE from all of it */
export class PartWriter {
  readonly #file: FileHandle;
  readonly #path: string;
  #bytes = 0;

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** `path` is relative to `dir`. What an earlier attempt left there is gone. */
  static async open(dir: string, path: string): Promise<PartWriter> {
    return await written(path, async () => {
      await makeFolder(dirname(join(dir, path)));
      return new PartWriter(await open(join(dir, path), 'w'), path);
    });
  }

  get bytes(): number {
    return this.#bytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await written(this.#path, () => writeAll(this.#file, bytes, null));
    this.#bytes += bytes.length;
  }

  /** Of a file that will be of no use. */
  async abandon(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }

  async close(rows: number): Promise<PartFile> {
    await written(this.#path, () => this.#file.close());
    return { path: this.#path, rows, bytes: this.#bytes };
  }
}

async function written<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    throw outsideError(error, `${path} cannot be written`) ?? error;
  }
}

/** `part-00003.parquet`, and where rows of one part fill more than one file `part-00003_0001.parquet`, …  */
export function partPath(name: string, folders: string, file: number): string {
  const slash = name.lastIndexOf('/');
  const base = name.slice(slash + 1);
  const dot = base.lastIndexOf('.');
  const stem = dot > 0 ? base.slice(0, dot) : base;
  const numbered = file === 0 ? base : `${stem}_${String(file).padStart(4, '0')}${base.slice(stem.length)}`;
  return join(name.slice(0, slash + 1), folders, numbered);
}
