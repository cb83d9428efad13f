/** What object stores have in common, as far as it is needed: keys, bytes, and something that tells one content from another. */

export interface StoredObject {
  /** Without a `/` in front; a folder has one at its end. */
  readonly key: string;
  /** A folder of one level, or something without content that stands for one. */
  readonly isFolder: boolean;
  readonly sizeBytes: number;
  /** Its etag in quotes where the store has one, else size and last modification. */
  readonly identity: string;
  /** False for what was listed and cannot be asked for by its name. */
  readonly isReadable: boolean;
}

export interface ListOrder {
  /** A key or the beginning of keys, up to a `/`; empty for the whole store. */
  readonly prefix: string;
  /** Only keys behind this one, which an earlier listing gave; null: all. */
  readonly startAfter: string | null;
  /** True: all keys below, in the order of their UTF-8 bytes where the store keeps any order. False: one level, in no order. */
  readonly isDeep: boolean;
  /** Of one level: enough is known when there are more; absent: all. */
  readonly entriesMax?: number;
  readonly signal: AbortSignal;
}

/**
 * Everything throws STORE_DENIED where the store does not let us in, INPUT_NOT_FOUND where the bucket, the container or the server’s
 * folder is not there, STORE_UNREACHABLE for what may pass, and the signal’s reason.
 */
export interface ReadableStore {
  /** In pages. What stands for the folder `prefix` itself may be among them. */
  list(order: ListOrder): AsyncIterable<readonly StoredObject[]>;
  /** Null when there is no such object. */
  stat(key: string, signal: AbortSignal): Promise<StoredObject | null>;
  /**
   * The bytes from `offset` to the end, or before `end`, of this very content. Breaks off with STORE_UNREACHABLE, after which the rest can be had from
   * where it broke. @throws INPUT_CHANGED, INPUT_UNREADABLE when it is gone
   */
  read(object: StoredObject, offset: number, signal: AbortSignal, end?: number): AsyncIterable<Uint8Array>;
}

/** `signal`, where it is given, ends the waiting between tries. */
export interface ObjectStore extends ReadableStore {
  /** Replaces what is there. A key that ends in `/` is a marker for a folder, and has no bytes. */
  put(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<StoredObject>;
  /** The same in parts: nothing is to be seen under the key before the last one has been taken. */
  putParts(key: string, parts: AsyncIterable<Uint8Array>): Promise<StoredObject>;
  /** Within the store, without its bytes coming here. Null when there is nothing to copy. */
  copy(from: string, to: string, signal?: AbortSignal): Promise<StoredObject | null>;
  /** Nothing happens when it is not there. */
  remove(key: string, signal?: AbortSignal): Promise<void>;
}
