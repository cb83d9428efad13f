/** What comes in over HTTP becomes an artifact: one file, or a folder as a tar stream of which nothing leads out of it. */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import type { ListedFile } from '../../common/storage/artifact-listing.ts';
import { isConfined } from '../../common/storage/confine.ts';
import type { ArtifactStore } from './artifact-store.ts';
import { isIgnoredPath } from './folder-files.ts';

export interface Upload {
  readonly kind: Artifact['kind'];
  readonly name: string;
  readonly bytes: Readable;
  /** SHA-256 of the bytes as they are sent, base64; null: nobody has said. */
  readonly sha256: string | null;
  /** Before each piece is taken: throws when no more may be sent. Absent: all may. */
  readonly stillMay?: (() => void) | undefined;
}

/**
 * Durable when it resolves. Files of an upload that fails stay in the store, where nobody names them.
 * @throws ARTIFACT_CORRUPT, REQUEST_INVALID, DISK_FULL, STATE_UNWRITABLE
 */
export async function receiveUpload(store: ArtifactStore, upload: Upload): Promise<Artifact> {
  const seen = watched(upload);
  if (upload.kind === 'file') {
    const blob = await store.addStream(seen.bytes);
    seen.check();
    return { kind: 'file', name: upload.name, ...blob };
  }
  const files = await unpack(store, seen.bytes);
  seen.check();
  return await store.addFolder(upload.name, files);
}

/** The same bytes, counted and hashed as they go by. */
function watched({ bytes, sha256, stillMay }: Upload): { readonly bytes: AsyncIterable<Uint8Array>; check(): void } {
  const hash = createHash('sha256');
  let total = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    // Whoever sends is to hear why it is refused, so what is left unread does not end the connection here.
    for await (const piece of bytes.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      stillMay?.();
      total += piece.length;
      if (total > limits.uploadBytesMax) throw invalid(`more than ${limits.uploadBytesMax} bytes`);
      if (sha256 !== null) hash.update(piece);
      yield piece;
    }
  };
  const check = (): void => {
    const found = sha256 === null ? null : hash.digest('base64');
    if (found === sha256) return;
    const message = `the bytes that came have the digest sha-256=:${found ?? ''}:, Content-Digest says sha-256=:${sha256 ?? ''}:; send them again`;
    throw new BatchError('ARTIFACT_CORRUPT', message);
  };
  return { bytes: counted(), check };
}

/** Names that differ from each other only later are told by the listing's own rules when somebody reads it. */
async function unpack(store: ArtifactStore, bytes: AsyncIterable<Uint8Array>): Promise<readonly ListedFile[]> {
  const tar = extract();
  const pumping = pump(bytes, tar);
  // It is waited for below; until then nobody but the archive's reader is told.
  pumping.catch(() => undefined);
  const files = new Map<string, ListedFile>();
  try {
    for await (const entry of tar) {
      const { header } = entry;
      const path = pathOf(header);
      if (path === null || isIgnoredPath(path)) {
        entry.resume();
        continue;
      }
      if (files.has(path)) throw invalid(`${JSON.stringify(path)} is there twice`);
      if (files.size >= limits.uploadFilesMax) throw invalid(`more than ${limits.uploadFilesMax} files`);
      const mode = ((header.mode ?? 0) & 0o111) === 0 ? 0o644 : 0o755;
      files.set(path, {
        path,
        mode,
        ...(await store.addStream(contentOf(entry as unknown as AsyncIterable<Uint8Array>))),
      });
    }
  } catch (error) {
    tar.destroy(error as Error);
    if (error instanceof BatchError) throw error;
    throw invalid((error as Error).message);
  }
  await pumping;
  if (files.size === 0) throw invalid('it holds no files');
  return [...files.values()];
}

/** That the archive ends in the middle of a file is no failure of the disk. */
async function* contentOf(entry: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* entry;
  } catch (error) {
    throw error instanceof BatchError ? error : invalid((error as Error).message);
  }
}

async function pump(bytes: AsyncIterable<Uint8Array>, tar: ReturnType<typeof extract>): Promise<void> {
  try {
    for await (const piece of bytes) {
      if (!tar.write(piece)) await drained(tar);
      if (tar.destroyed) return;
    }
    tar.end(null);
  } catch (error) {
    tar.destroy(error as Error);
    throw error;
  }
}

/** Also when it has been given up. */
function drained(tar: ReturnType<typeof extract>): Promise<void> {
  return new Promise((resolve) => {
    if (tar.destroyed) return resolve();
    tar.once('drain', () => resolve());
    tar.once('close', () => resolve());
  });
}

/** Null for folders, which files make. */
function pathOf({ name, type }: Header): string | null {
  if (type === 'directory') return null;
  const path = name.replace(/^(\.\/)+/, '');
  if (type !== 'file' && type !== 'contiguous-file') {
    throw invalid(
      `${JSON.stringify(name)} is a ${type ?? 'thing of an unknown kind'}; only files and folders are taken`,
    );
  }
  if (!isConfined(path) || path.length > limits.uploadPathCharsMax || /[\ufffd\\]/.test(path)) {
    throw invalid(`${JSON.stringify(name.slice(0, 200))} is not a path within the folder`);
  }
  return path;
}

function invalid(what: string): BatchError {
  return new BatchError('REQUEST_INVALID', `the archive cannot be taken: ${what}`);
}
