/**
 * The canonical list of the files of a folder artifact: JSON Lines `{"path","digest","bytes","mode"}` in the order of the paths' UTF-8
 * bytes. Its digest is the folder's, so equal folders have equal digests wherever and whenever they are read. Folders without files,
 * owners and times are not part of it; of the permissions only whether a file may be executed.
 */
import * as z from 'zod';
import { BatchError } from '../core/batch-error.ts';
import { digest, type Digest } from '../core/ids.ts';
import { reasonOf } from '../io/errno.ts';
import { isConfined } from './confine.ts';

export interface ListedFile {
  /** Relative to the folder, forward slashes. */
  readonly path: string;
  readonly digest: Digest;
  readonly bytes: number;
  /** 0o755 for what may be executed, else 0o644. */
  readonly mode: number;
}

const lineSchema = z.strictObject({
  path: z.string(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  bytes: z.int().min(0),
  mode: z.union([z.literal(0o644), z.literal(0o755)]),
});

/** True for `sha256:` and 64 hex digits: safe as a part of a path. */
export function isDigest(text: string): text is Digest {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}

/** The bytes that a folder's digest is taken of. */
export function formatListing(files: readonly ListedFile[]): Buffer {
  const sorted = [...files].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  const lines = sorted.map(({ path, digest: of, bytes, mode }) => JSON.stringify({ path, digest: of, bytes, mode }));
  return Buffer.from(lines.map((line) => `${line}\n`).join(''));
}

/**
 * The inverse, for bytes from outside: every path stays within the folder, none is there twice or both a file and a folder.
 * @throws ARTIFACT_CORRUPT
 */
export function parseListing(bytes: Uint8Array): readonly ListedFile[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  const lines = text.split('\n');
  if (lines.pop() !== '') throw corrupt('its last line is cut short');
  const files = lines.map(parseLine);
  const paths = new Set(files.map((file) => file.path));
  if (paths.size < files.length) throw corrupt('a path is there twice');
  for (const path of paths) {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
      if (paths.has(path.slice(0, at))) throw corrupt(`${path.slice(0, at)} is both a file and a folder`);
    }
  }
  return files;
}

function parseLine(line: string): ListedFile {
  try {
    const parsed = lineSchema.parse(JSON.parse(line));
    if (!isConfined(parsed.path)) throw corrupt(`${JSON.stringify(parsed.path)} is not a path within the folder`);
    return { ...parsed, digest: digest(parsed.digest) };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) throw corrupt(reasonOf(error));
    throw error;
  }
}

function corrupt(what: string): BatchError {
  return new BatchError('ARTIFACT_CORRUPT', `the list of an artifact’s files is damaged: ${what}`);
}
