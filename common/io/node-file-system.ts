/** The {@link FileSystem} of this machine. Callbacks instead of fs/promises: the journal syncs thousands of times a second. */
import * as fs from 'node:fs';
import { link, open as openDir, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises';
import type { FileSystem, OpenFile, OpenMode } from '../ports/file-system.ts';
import { errnoOf } from './errno.ts';
import { makeFolder } from './make-folder.ts';
import { noneTaken } from './write-all.ts';

/** Pieces smaller than this are joined: one copy in memory is cheaper than one call each. */
const joinBytesMax = 65_536;
const joinedBytesMax = 1_048_576;

const flags: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY,
  update: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
  replace: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_TRUNC,
};

class NodeFile implements OpenFile {
  /** −1 once it is closed: its number may be another file's by then. */
  #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  async write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    let at = position;
    for (const block of joinSmall(pieces)) {
      await this.#writeBlock(block, at);
      at += block.length;
    }
  }

  /** The system may write less than it was given, always so just before a disk is full. */
  async #writeBlock(block: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < block.length) {
      const bytes = await new Promise<number>((resolve, reject) => {
        fs.write(this.#descriptor, block, done, block.length - done, position + done, (error, written) =>
          error ? reject(error) : resolve(written),
        );
      });
      if (bytes === 0) throw noneTaken(block.length - done, block.length);
      done += bytes;
    }
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const bytes = await new Promise<number>((resolve, reject) => {
        fs.read(this.#descriptor, into, done, into.length - done, position + done, (error, count) =>
          error ? reject(error) : resolve(count),
        );
      });
      if (bytes === 0) break;
      done += bytes;
    }
    return done;
  }

  sizeBytes(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#descriptor, (error, stats) => (error ? reject(error) : resolve(stats.size)));
    });
  }

  truncate(bytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#descriptor, bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (error) => (error ? reject(error) : resolve()));
    });
  }

  close(): Promise<void> {
    const descriptor = this.#descriptor;
    this.#descriptor = -1;
    return new Promise((resolve, reject) => {
      fs.close(descriptor, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/** The same bytes in blocks that are worth a system call each. */
function* joinSmall(pieces: readonly Uint8Array[]): Generator<Uint8Array> {
  let small: Uint8Array[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    const isSmall = piece.length < joinBytesMax;
    if (small.length > 0 && (!isSmall || bytes + piece.length > joinedBytesMax)) {
      yield small.length === 1 ? (small[0] as Uint8Array) : Buffer.concat(small, bytes);
      small = [];
      bytes = 0;
    }
    if (isSmall) {
      small.push(piece);
      bytes += piece.length;
    } else yield piece;
  }
  if (small.length > 0) yield small.length === 1 ? (small[0] as Uint8Array) : Buffer.concat(small, bytes);
}

async function removeDir(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error))) throw error;
  }
}

async function syncDir(path: string): Promise<void> {
  const handle = await openDir(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export const nodeFileSystem: FileSystem = {
  open: (path, mode) =>
    new Promise((resolve, reject) => {
      fs.open(path, flags[mode], 0o644, (error, descriptor) =>
        error ? reject(error) : resolve(new NodeFile(descriptor)),
      );
    }),
  list: (dir) => readdir(dir),
  makeDir: (path) => makeFolder(path),
  rename,
  link,
  remove: (path) => rm(path, { force: true }),
  removeDir,
  syncDir,
  freeBytes: async (path) => {
    const stats = await statfs(path);
    return stats.bavail * stats.bsize;
  },
  totalBytes: async (path) => {
    const stats = await statfs(path);
    return stats.blocks * stats.bsize;
  },
};
