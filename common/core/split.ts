/** Which files of an input are shared out in parts, and where they are cut: arithmetic on sizes, so that nobody reads them for it. */
import type { Deployment, Scorer, SplitFiles } from './deployment.ts';
import type { InputFile } from './input.ts';
import { limits } from './limits.ts';

/** How many files were shared out, and into how many parts. */
export interface SplitCount {
  readonly files: number;
  readonly parts: number;
}

/** Files of other kinds stay whole. */
export interface SplitRule {
  /** In small letters, with their dots. */
  readonly extensions: readonly string[];
  /** About so many bytes has a part. */
  readonly partBytes: number;
  /** Files of more than this are cut. */
  readonly overBytes: number;
}

const onnxTables = ['.csv', '.tsv', '.jsonl', '.ndjson', '.parquet', '.arrow', '.feather', '.ipc'];
const mlflowTables = ['.csv', '.parquet', '.pqt'];

/** Null: all files stay whole. */
export function splitRule({ scorer, settings }: Pick<Deployment, 'scorer' | 'settings'>): SplitRule | null {
  // In jobs of releases that had no parts.
  const wanted: SplitFiles = settings.splitFiles ?? { kind: 'off' };
  const extensions = tablesOf(scorer);
  if (wanted.kind === 'off' || extensions === null) return null;
  if (wanted.kind === 'bytes') return { extensions, partBytes: wanted.bytes, overBytes: wanted.bytes };
  // What predict() makes of a row may depend on others, and the types that pandas finds do.
  if (scorer.kind !== 'onnx') return null;
  const partBytes = wanted.partBytes ?? autoPartBytes(settings);
  return { extensions, partBytes, overBytes: 2 * partBytes };
}

/** The setting that cuts files as this deployment does, whatever its other settings become: a listing that goes on must not cut otherwise. */
export function pinnedSplit({ settings }: Pick<Deployment, 'settings'>): SplitFiles {
  const wanted: SplitFiles = settings.splitFiles ?? { kind: 'off' };
  return wanted.kind === 'auto' ? { kind: 'auto', partBytes: wanted.partBytes ?? autoPartBytes(settings) } : wanted;
}

/** Extensions of files that a scorer reads by itself, row by row; null for one that is given paths. */
function tablesOf(scorer: Scorer): readonly string[] | null {
  if (scorer.kind === 'onnx') return onnxTables;
  return scorer.kind === 'mlflow' ? mlflowTables : null;
}

/** A mini-batch of as many files as are wanted has about as many bytes as one part by itself. */
function autoPartBytes({ miniBatchSize: size }: Deployment['settings']): number {
  const { splitPartBytes: most, splitPartBytesMin: least } = limits;
  if (size.kind === 'files') return Math.max(least, Math.floor(most / size.files));
  return size.kind === 'bytes' ? Math.min(most, Math.max(size.bytes, least)) : most;
}

/** How many parts the file has; 1: it stays whole. */
export function partCount({ path, sizeBytes }: Pick<InputFile, 'path' | 'sizeBytes'>, rule: SplitRule): number {
  if (sizeBytes <= rule.overBytes || !rule.extensions.includes(extensionOf(path))) return 1;
  return Math.ceil(sizeBytes / rule.partBytes);
}

/** The `index`th of `count` parts of the file, which are equal but for a byte. */
export function partOf(file: InputFile, index: number, count: number): InputFile {
  const fileBytes = file.sizeBytes;
  const cut = (at: number): number => Math.floor((fileBytes / count) * at);
  const begin = cut(index);
  const end = index + 1 === count ? fileBytes : cut(index + 1);
  return { ...file, sizeBytes: end - begin, part: { begin, end, fileBytes } };
}

function extensionOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  return dot <= 0 ? '' : name.slice(dot).toLowerCase();
}
