/**
 * Models, code and data on their way to the coordinator: by path where both see the same disk, else as bytes, and those only when the
 * coordinator does not have them. Their digest is what tells.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { pack } from 'tar-stream';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact, ArtifactSource, LocalArtifact } from '../../common/core/deployment.ts';
import { digest, type Digest } from '../../common/core/ids.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { formatListing, type ListedFile } from '../../common/storage/artifact-listing.ts';
import { folderFiles } from '../../coordinator/registry/folder-files.ts';
import { strangerError } from '../connection.ts';
import { segment, type Transport } from './transport.ts';

export interface ServerView {
  readonly release: string;
  readonly hostname: string;
  readonly state_dir: string;
  /** Random text that also stands in `<state_dir>/instance`. */
  readonly instance: string;
}

const serverView: z.ZodType<ServerView> = z.looseObject({
  release: z.string(),
  hostname: z.string(),
  state_dir: z.string(),
  instance: z.string(),
});

const artifactView: z.ZodType<Artifact> = z.looseObject({
  kind: z.enum(['file', 'folder']),
  name: z.string(),
  digest: z.string().transform(digest),
  bytes: z.number(),
});

/** Told how far the upload of something is. */
export type OnUpload = (name: string, sentBytes: number, totalBytes: number) => void;

export interface Uploads {
  /** Whether absolute paths mean the same here and there. */
  readonly isShared: boolean;
  /** The same by path, or by digest after it has been sent. @throws DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID */
  send(source: ArtifactSource): Promise<ArtifactSource>;
}

export async function openUploads(transport: Transport, onUpload: OnUpload): Promise<Uploads> {
  const { value } = await transport.ask('GET', '/v1/server');
  const server = serverView.safeParse(value);
  if (!server.success) throw strangerError(transport.origin, 'it does not say who it is');
  const isShared = await seesState(server.data);
  return {
    isShared,
    send: async (source) => (isShared || !('path' in source) ? source : await upload(transport, source, onUpload)),
  };
}

/** What was uploaded, as the place of an input. */
export function uploadedPath({ kind, name, digest }: Artifact): string {
  return kind === 'file' ? `${digest}/${name}` : digest;
}

/** Whoever can read the coordinator's secret text where it says that it lies is on its disk. */
async function seesState(server: ServerView): Promise<boolean> {
  if (server.hostname !== hostname() || server.instance === '') return false;
  try {
    return (await readFile(join(server.state_dir, 'instance'), 'utf8')).trim() === server.instance;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return false;
  }
}

interface Content {
  readonly digest: Digest;
  readonly bytes: number;
  readonly type: 'application/octet-stream' | 'application/x-tar';
  readonly read: () => AsyncIterable<Uint8Array>;
}

async function upload(transport: Transport, local: LocalArtifact, onUpload: OnUpload): Promise<Artifact> {
  const name = basename(local.path);
  const content = await reading(local.path, async () =>
    local.kind === 'file' ? await fileContent(local.path) : await folderContent(local.path),
  );
  const { digest: of, bytes } = content;
  if (await transport.has(`/v1/artifacts/${segment(of)}`)) return { kind: local.kind, name, digest: of, bytes };
  const path = `/v1/artifacts?kind=${local.kind}&name=${segment(name)}`;
  const { value } = await transport.upload(path, content.type, () =>
    counted(local.path, content, (sent) => onUpload(name, sent, bytes)),
  );
  const answer = artifactView.safeParse(value);
  if (!answer.success) throw strangerError(transport.origin, 'it does not say what it has received');
  if (answer.data.digest === of) return { kind: local.kind, name, digest: of, bytes };
  throw new BatchError('ARTIFACT_CORRUPT', `${local.path} changed while it was sent; send it again`);
}

async function fileContent(path: string): Promise<Content> {
  const { digest: of, bytes } = await digestOf(path);
  return { digest: of, bytes, type: 'application/octet-stream', read: () => createReadStream(path) };
}

async function folderContent(root: string): Promise<Content> {
  const files: (ListedFile & { readonly from: string })[] = [];
  for (const { path, from, mode } of await folderFiles(root))
    files.push({ path, from, mode, ...(await digestOf(from)) });
  const listing = createHash('sha256').update(formatListing(files)).digest('hex');
  return {
    digest: digest(`sha256:${listing}`),
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    type: 'application/x-tar',
    read: () => tarOf(files),
  };
}

async function digestOf(path: string): Promise<{ readonly digest: Digest; readonly bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 1_048_576 }) as AsyncIterable<Buffer>) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { digest: digest(`sha256:${hash.digest('hex')}`), bytes };
}

/** The files as one tar stream, read as it is taken. */
async function* tarOf(files: readonly (ListedFile & { readonly from: string })[]): AsyncGenerator<Uint8Array> {
  const stream = pack();
  const filling = fill(stream, files).catch((error: unknown) => {
    stream.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  for await (const piece of stream) yield piece as Uint8Array;
  await filling;
}

async function fill(
  stream: ReturnType<typeof pack>,
  files: readonly (ListedFile & { readonly from: string })[],
): Promise<void> {
  for (const { path, from, bytes, mode } of files) {
    const changed = new BatchError('ARTIFACT_CORRUPT', `${from} changed while it was sent; send it again`);
    if ((await stat(from)).size !== bytes) throw changed;
    await new Promise<void>((resolve, reject) => {
      // What an entry complains of is another number of bytes.
      const entry = stream.entry({ name: path, size: bytes, mode }, (error) => (error ? reject(changed) : resolve()));
      const source = createReadStream(from);
      source.on('error', reject);
      source.pipe(entry);
    });
  }
  stream.finalize();
}

async function* counted(path: string, { read }: Content, onSent: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  let sent = 0;
  try {
    for await (const piece of read()) {
      yield piece;
      sent += piece.length;
      onSent(sent);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** What the disk says, as an error of ours. */
function unreadable(path: string, error: unknown): unknown {
  if (error instanceof BatchError || errnoOf(error) === '') return error;
  return new BatchError('DEPLOYMENT_NOT_FOUND', `${path} cannot be read: ${reasonOf(error)}`, { cause: error });
}
