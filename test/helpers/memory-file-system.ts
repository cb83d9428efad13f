/**
 * A disk in memory that counts, fills up, fails at a chosen operation and loses power. What was not synced is gone after
 * {@link MemoryFileSystem.powerCut}: bytes of a file without datasync, names of a folder without syncDir.
 */
import { dirname } from 'node:path';
import type { FileSystem, OpenFile, OpenMode } from '../../common/ports/file-system.ts';

interface Inode {
  bytes: Uint8Array;
  size: number;
  durable: Uint8Array;
}

export type Operation =
  'open' | 'write' | 'read' | 'truncate' | 'datasync' | 'rename' | 'link' | 'remove' | 'syncDir' | 'makeDir';

export class MemoryFileSystem implements FileSystem {
  readonly counts: Record<Operation, number> = {
    open: 0,
    write: 0,
    read: 0,
    truncate: 0,
    datasync: 0,
    rename: 0,
    link: 0,
    remove: 0,
    syncDir: 0,
    makeDir: 0,
  };
  /** Every operation that may change something, in order: `datasync /out/a.csv`. */
  readonly log: string[] = [];
  /** Bytes that all files together may have. */
  capacityBytes: number = Number.MAX_SAFE_INTEGER;
  /** Asked before each operation; what it returns is thrown. */
  fail: (operation: Operation, path: string) => Error | null = () => null;
  /** Operations that change something and that are still allowed; at 0 the process is as good as killed. */
  changesLeft: number = Number.MAX_SAFE_INTEGER;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  readonly #dirs = new Set<string>(['/']);
  openFiles = 0;

  get usedBytes(): number {
    return [...new Set(this.#names.values())].reduce((sum, inode) => sum + inode.size, 0);
  }

  /** Of one file, or null. */
  content(path: string): Buffer | null {
    const inode = this.#names.get(path);
    return inode === undefined ? null : Buffer.from(inode.bytes.subarray(0, inode.size));
  }

  put(path: string, bytes: Uint8Array): void {
    const inode = { bytes: Uint8Array.from(bytes), size: bytes.length, durable: Uint8Array.from(bytes) };
    for (let dir = dirname(path); !this.#dirs.has(dir); dir = dirname(dir)) this.#dirs.add(dir);
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** Paths of all files, sorted. */
  paths(): readonly string[] {
    return [...this.#names.keys()].sort();
  }

  powerCut(): void {
    this.#names = new Map(this.#durableNames);
    for (const inode of this.#names.values()) {
      inode.bytes = Uint8Array.from(inode.durable);
      inode.size = inode.durable.length;
    }
    this.changesLeft = Number.MAX_SAFE_INTEGER;
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    await this.#begin('open', path, false);
    let inode = this.#names.get(path);
    if (inode === undefined) {
      if (mode === 'read' || mode === 'update') throw systemError('ENOENT', path);
      if (!this.#dirs.has(dirname(path))) throw systemError('ENOENT', path);
      this.#change();
      inode = { bytes: new Uint8Array(0), size: 0, durable: new Uint8Array(0) };
      this.#names.set(path, inode);
    } else if (mode === 'replace') {
      this.#change();
      inode.size = 0;
    }
    return this.#file(path, inode);
  }

  async list(dir: string): Promise<readonly string[]> {
    await Promise.resolve();
    if (!this.#dirs.has(dir)) throw systemError('ENOENT', dir);
    return [...this.#names.keys()].filter((path) => dirname(path) === dir).map((path) => path.slice(dir.length + 1));
  }

  async makeDir(path: string): Promise<void> {
    await this.#begin('makeDir', path);
    for (let dir = path; !this.#dirs.has(dir); dir = dirname(dir)) this.#dirs.add(dir);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#begin('rename', from);
    this.#names.set(to, this.#existing(from));
    this.#names.delete(from);
  }

  async link(from: string, to: string): Promise<void> {
    await this.#begin('link', from);
    if (this.#names.has(to)) throw systemError('EEXIST', to);
    this.#names.set(to, this.#existing(from));
  }

  async remove(path: string): Promise<void> {
    await this.#begin('remove', path);
    this.#names.delete(path);
  }

  async removeDir(path: string): Promise<void> {
    if ((await this.list(path).catch(() => ['none'])).length === 0) this.#dirs.delete(path);
  }

  async syncDir(path: string): Promise<void> {
    await this.#begin('syncDir', path);
    for (const name of this.#durableNames.keys()) if (dirname(name) === path) this.#durableNames.delete(name);
    for (const [name, inode] of this.#names) if (dirname(name) === path) this.#durableNames.set(name, inode);
  }

  async freeBytes(): Promise<number> {
    await Promise.resolve();
    return this.capacityBytes - this.usedBytes;
  }

  async totalBytes(): Promise<number> {
    await Promise.resolve();
    return this.capacityBytes;
  }

  #file(path: string, inode: Inode): OpenFile {
    let isOpen = true;
    this.openFiles += 1;
    return {
      write: async (pieces, position) => {
        await this.#begin('write', path);
        this.#store(path, inode, Buffer.concat(pieces), position);
      },
      read: async (into, position) => {
        await this.#begin('read', path, false);
        const bytes = inode.bytes.subarray(0, inode.size).subarray(position, position + into.length);
        into.set(bytes);
        return bytes.length;
      },
      sizeBytes: () => Promise.resolve(inode.size),
      truncate: async (bytes) => {
        await this.#begin('truncate', path);
        this.#store(path, inode, new Uint8Array(0), bytes);
        inode.size = bytes;
      },
      datasync: async () => {
        await this.#begin('datasync', path);
        inode.durable = inode.bytes.slice(0, inode.size);
      },
      close: async () => {
        await Promise.resolve();
        if (!isOpen) throw systemError('EBADF', path);
        isOpen = false;
        this.openFiles -= 1;
      },
    };
  }

  /** As a real disk does: what still fits is written before the rest is refused. */
  #store(path: string, inode: Inode, bytes: Uint8Array, position: number): void {
    const room = this.capacityBytes - this.usedBytes;
    const growth = Math.max(0, position + bytes.length - inode.size);
    const fitting = bytes.subarray(0, bytes.length - Math.max(0, growth - room));
    const end = Math.max(inode.size, position + fitting.length);
    if (end > inode.bytes.length) {
      const grown = new Uint8Array(Math.max(end, inode.bytes.length * 2));
      grown.set(inode.bytes.subarray(0, inode.size));
      inode.bytes = grown;
    }
    if (position > inode.size) inode.bytes.fill(0, inode.size, position);
    inode.bytes.set(fitting, position);
    inode.size = end;
    if (growth > room) throw systemError('ENOSPC', path);
  }

  #existing(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw systemError('ENOENT', path);
    return inode;
  }

  async #begin(operation: Operation, path: string, isChange = true): Promise<void> {
    this.counts[operation] += 1;
    if (operation !== 'read') this.log.push(`${operation} ${path}`);
    await Promise.resolve();
    const error = this.fail(operation, path);
    if (error) throw error;
    if (isChange) this.#change();
  }

  #change(): void {
    if (this.changesLeft <= 0) throw new Killed();
    this.changesLeft -= 1;
  }
}

/** Thrown by every operation of a disk whose process is as good as killed. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

/** What Node throws for `code`. */
export function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: injected, '${path}'`), { code });
}
