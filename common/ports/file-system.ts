/**
 * The few file operations that durable state is made of. Journal, output writer, seal and catalog know nothing else of the
 * disk, so that a test can count the syncs, fill the disk and pull the plug at any operation.
 * Failures are Node's own errors; `common/io/errno.ts` reads their codes.
 */

/** `read`: must exist. `update`: must exist, read and write. `create`: the same, made when absent. `replace`: emptied first. */
export type OpenMode = 'read' | 'update' | 'create' | 'replace';

export interface OpenFile {
  /** Writes `pieces` one behind the other from `position` on. When it rejects, any part of them may stand in the file. */
  write(pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** Fills `into` from `position` on and returns the bytes read: fewer than asked for only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  sizeBytes(): Promise<number>;
  truncate(bytes: number): Promise<void>;
  /** Returns when data and size are on the disk. After it has failed, nothing written before may be relied upon. */
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileSystem {
  open(path: string, mode: OpenMode): Promise<OpenFile>;
  /** Names in a folder, in no order. */
  list(dir: string): Promise<readonly string[]>;
  /** Makes the folder and those above it; one that exists is fine. */
  makeDir(path: string): Promise<void>;
  /** Replaces `to` at once. */
  rename(from: string, to: string): Promise<void>;
  /** A second name for the same file; EEXIST when `to` exists. */
  link(from: string, to: string): Promise<void>;
  /** Removes a file; one that is not there is fine. */
  remove(path: string): Promise<void>;
  /** Removes an empty folder; one that is not there, or is not empty, is left. */
  removeDir(path: string): Promise<void>;
  /** Makes the names in a folder durable: files created, renamed and removed. */
  syncDir(path: string): Promise<void>;
  /** Bytes that may still be written where `path` lies. */
  freeBytes(path: string): Promise<number>;
  /** Size of the disk on which `path` lies. */
  totalBytes(path: string): Promise<number>;
}
