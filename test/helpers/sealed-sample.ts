/** A small output folder in memory, sealed by the program itself, and ways to damage it. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { publicJwk, signDetached, thumbprint, type PublicJwk } from '../../common/security/detached-jws.ts';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { sealOutput, type ManifestSigner } from '../../coordinator/output/seal.ts';
import type { StatFiles } from '../../coordinator/input/stat-files.ts';
import type { ErrorLine, FileLine, SealedChunk, SealedOutput } from '../../coordinator/output/sealed-lines.ts';
import type { OutputPlace } from '../../coordinator/output/segments.ts';
import { verifyOutput, type VerifyOptions, type VerifyReport } from '../../coordinator/verify/verify-output.ts';
import { MemoryFileSystem } from './memory-file-system.ts';

/** Files of each mini-batch; the one at {@link failedBatch} was given up. */
const sizes = [3, 2, 1, 4, 2];
const failedBatch = 2;
export const sampleFiles = 12;
const prologue = 'file,digit\n';

const pair = generateKeyPairSync('ed25519');
export const sampleKey = publicJwk(pair.publicKey) as PublicJwk;
const signer: ManifestSigner = {
  signedBy: { key_id: thumbprint(sampleKey), jwk: sampleKey },
  sign: (content) => signDetached(String(pair.privateKey.export({ type: 'pkcs8', format: 'pem' })), content),
};

const pathOf = (file: number): string => `scan-${String(file).padStart(2, '0')}.png`;
const rowOf = (file: number): string => `${pathOf(file)},${file % 10}\n`;

interface Batch {
  readonly first: number;
  readonly count: number;
  readonly isFailed: boolean;
}

function batches(): readonly Batch[] {
  let first = 0;
  return sizes.map((count, index) => {
    first += count;
    return { first: first - count, count, isFailed: index === failedBatch };
  });
}

function fileLines(): readonly FileLine[] {
  return batches().flatMap(({ first, count, isFailed }, batch) =>
    Array.from({ length: count }, (_, index) => ({
      ordinal: first + index,
      path: pathOf(first + index),
      size_bytes: 100 + first + index,
      identity: `${100 + first + index}-1`,
      status: isFailed ? ('failed' as const) : ('scored' as const),
      rows: isFailed ? null : 1,
      mini_batch: [first, count] as const,
      attempt: isFailed ? null : `1.${batch + 1}`,
      attempts: isFailed ? 3 : 1,
      node: 'n1',
      code: isFailed ? ('INPUT_DECODE_FAILED' as const) : null,
    })),
  );
}

function errorLines(): readonly ErrorLine[] {
  const failed = fileLines().filter(({ status }) => status === 'failed');
  return failed.map(({ ordinal, path }) => ({
    ...{ ordinal, path, code: 'INPUT_DECODE_FAILED', message: 'no image', detail: '', tries: 3, node: 'n1' },
    ...{ run_seconds: 0.5, peak_memory_bytes: 1_000_000, host_exit: null },
  }));
}

function rowsOf({ first, count, isFailed }: Batch): string {
  return isFailed ? '' : Array.from({ length: count }, (_, index) => rowOf(first + index)).join('');
}

function places(): readonly OutputPlace[] {
  return batches().map((batch) => {
    const bytes = Buffer.from(rowsOf(batch));
    const { first, count, isFailed } = batch;
    return {
      first,
      count,
      rows: isFailed ? 0 : count,
      bytes: bytes.length,
      crc32: crc32(bytes),
      isCommitted: !isFailed,
    };
  });
}

export interface SampleOptions {
  readonly verdict?: SealedOutput['verdict'];
  readonly isSigned?: boolean;
  /** Bytes of the output that are changed before it is sealed. */
  readonly flipBefore?: number;
  /** Stand behind what was committed. */
  readonly trailing?: string;
}

export async function sealedSample(options: SampleOptions = {}): Promise<MemoryFileSystem> {
  const { verdict = 'Completed', isSigned = false, flipBefore, trailing = '' } = options;
  const disk = new MemoryFileSystem();
  const rows = Buffer.from(prologue + batches().map(rowsOf).join('') + trailing);
  if (flipBefore !== undefined) rows[flipBefore] = (rows[flipBefore] as number) ^ 1;
  disk.put('/out/predictions.csv.partial', rows);
  await sealOutput({
    dir: '/out',
    outputFileName: 'predictions.csv',
    header: header(),
    files: streamOf([fileLines()]),
    errors: streamOf(errorLines()),
    layout: { prologue: Buffer.from(prologue), places: places() },
    signer: isSigned ? signer : null,
    verdict,
    fileSystem: disk,
    chunkLinesMax: 5,
    segmentBytes: 50,
  });
  return disk;
}

function header(): Record<string, unknown> {
  const artifact = { kind: 'file', name: 'digits.onnx', digest: `sha256:${'0'.repeat(64)}`, bytes: 10 };
  const time = '2026-11-21T16:25:16.561Z';
  return {
    ...{ name: 'digits-1', batchmill: '0.1.0', input_path: '/in', created_at: time, started_at: time, ended_at: time },
    deployment: { name: 'digits', scorer: { kind: 'onnx' }, model: artifact, code: null },
    settings: { outputAction: 'append_row', outputFileName: 'predictions.csv' },
    counts: { files: { total: sampleFiles, scored: 11, failed: 1, skipped: 0 }, mini_batches: 5, rows: 11 },
    error: null,
  };
}

async function* streamOf<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}

/** The inputs as they were listed, but for `changes` (null: gone). */
export function sampleInputs(changes: Readonly<Record<string, InputFile | null>> = {}): StatFiles {
  return async (_base, paths) =>
    await Promise.resolve(
      paths.map((path) => {
        const line = fileLines().find((one) => one.path === path);
        const changed = changes[path];
        if (changed === null || line === undefined) return { path, sizeBytes: 0, identity: unreadableIdentity };
        return changed ?? { path, sizeBytes: line.size_bytes, identity: line.identity };
      }),
    );
}

export async function verifySample(
  disk: MemoryFileSystem,
  options: Partial<VerifyOptions> = {},
): Promise<VerifyReport> {
  return await verifyOutput({ dir: '/out', inputPath: null, key: null, fileSystem: disk, ...options });
}

export function textOf(disk: MemoryFileSystem, path: string): string {
  return disk.content(`/out/${path}`)?.toString() ?? '';
}

export function edit(disk: MemoryFileSystem, path: string, change: (text: string) => string): void {
  const before = textOf(disk, path);
  const after = change(before);
  if (after === before) throw new Error(`nothing of ${path} was changed`);
  disk.put(`/out/${path}`, Buffer.from(after));
}

type Json = Record<string, unknown>;

/** Changes the manifest as somebody who knows JSON would. */
export function editManifest(disk: MemoryFileSystem, change: (manifest: Json) => void): void {
  edit(disk, '_manifest.json', (text) => {
    const manifest = JSON.parse(text) as Json;
    change(manifest);
    return `${JSON.stringify(manifest, null, 2)}\n`;
  });
}

/** Changes lines of a chunk, and makes the digests in the manifest fit, as a forger or a defect of ours would. */
export function forgeLines(disk: MemoryFileSystem, path: string, change: (lines: Json[]) => readonly Json[]): void {
  edit(disk, path, (text) => {
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Json);
    return change(lines)
      .map((line) => `${JSON.stringify(line)}\n`)
      .join('');
  });
  const text = textOf(disk, path);
  editManifest(disk, (manifest) => {
    const { files, segments, custom_chunks: custom, errors } = manifest as unknown as SealedOutput;
    const chunk = [...files, ...segments, ...custom, errors].find((one) => one?.path === path) as unknown as {
      -readonly [K in keyof SealedChunk]: SealedChunk[K];
    };
    chunk.bytes = Buffer.byteLength(text);
    chunk.sha256 = createHash('sha256').update(text).digest('hex');
    chunk.lines = text === '' ? 0 : text.trimEnd().split('\n').length;
  });
}
