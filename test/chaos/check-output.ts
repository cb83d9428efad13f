/** Reads what a job has left behind, and tells two of them apart as a stranger would: by bytes and by manifest. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, type Dirent } from 'node:fs';
import { join, relative } from 'node:path';
import type { CustomFileLine, FileLine } from '../../coordinator/output/sealed-lines.ts';
import { readOutput } from '../helpers/sealed-output.ts';

/** What must not differ from run to run: no attempt, no node, no cut into mini-batches, no time. */
export interface Result {
  /** Over all that follows. */
  readonly digest: string;
  readonly rows: readonly string[];
  readonly files: readonly Omit<FileLine, 'attempt' | 'attempts' | 'node' | 'mini_batch'>[];
  readonly custom: readonly (Pick<CustomFileLine, 'path' | 'bytes' | 'sha256'> & { readonly found: string })[];
  readonly isComplete: boolean;
}

/** @throws when the folder is not as its own manifest says */
export function readResult(dir: string, outputFile: string): Result {
  const output = readOutput(dir, outputFile);
  const files = output.files.map(({ attempt: _a, attempts: _s, node: _n, mini_batch: _m, ...rest }) => rest);
  const { custom_files: listed, custom_chunks: chunks } = output.manifest;
  const lines = [...listed, ...chunks.flatMap(({ path }) => customLines(join(dir, path)))];
  const custom = lines.map(({ path, bytes, sha256 }) => {
    const found = existsSync(join(dir, path)) ? sha256Of(readFileSync(join(dir, path))) : 'missing';
    return { path, bytes, sha256, found };
  });
  const bad = custom.find(({ sha256, found }) => sha256 !== found);
  if (bad) throw new Error(`${bad.path} is ${bad.found}, the manifest says ${bad.sha256}`);
  const digest = sha256Of(JSON.stringify([output.sha256, files, custom, output.errors.length]));
  const rows = output.text.split('\n').slice(0, -1);
  return { digest, rows, files, custom, isComplete: output.isComplete };
}

function customLines(path: string): readonly CustomFileLine[] {
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as CustomFileLine);
}

export interface Difference {
  /** Rows and custom files of the undisturbed run that are not there, and those that are there too often or should not be. */
  readonly lost: number;
  readonly doubled: number;
  /** Empty when the two are equal. */
  readonly words: readonly string[];
}

/** Of a job that was completed. */
export function compareResults(found: Result, wanted: Result): Difference {
  const rows = countDifference(found.rows, wanted.rows);
  const custom = countDifference(found.custom.map(nameOf), wanted.custom.map(nameOf));
  const lost = rows.lost + custom.lost;
  const doubled = rows.doubled + custom.doubled;
  const words: string[] = [];
  if (found.digest !== wanted.digest) words.push(`its digest is ${found.digest}, undisturbed ${wanted.digest}`);
  if (lost + doubled > 0) words.push(`${lost} lost, ${doubled} doubled`);
  const line = found.files.find((file, index) => JSON.stringify(file) !== JSON.stringify(wanted.files[index]));
  if (line) words.push(`a file is told otherwise: ${JSON.stringify(line)}`);
  if (!found.isComplete) words.push('it is Completed without _SUCCESS');
  return { lost, doubled, words };
}

/** Of a job that was canceled: rows of the undisturbed run in their order, as many as the manifest says. */
export function comparePartial(found: Result, wanted: Result): Difference {
  const words: string[] = [];
  if (found.isComplete) words.push('it is canceled and has _SUCCESS');
  const { doubled } = countDifference(found.rows, wanted.rows);
  if (doubled > 0) words.push(`${doubled} rows doubled`);
  let at = 0;
  for (const row of wanted.rows) if (row === found.rows[at]) at += 1;
  if (at < found.rows.length) words.push(`row ${at} of ${found.rows.length} is out of order or of nobody`);
  const told = found.files.reduce((sum, { rows }) => sum + (rows ?? 0), 0);
  const headers = wanted.rows.length - wanted.files.reduce((sum, { rows }) => sum + (rows ?? 0), 0);
  const there = Math.max(0, found.rows.length - headers);
  if (told !== there) words.push(`the manifest tells of ${told} rows, there are ${there}`);
  return { lost: Math.max(0, told - there), doubled, words };
}

/** What a job that has ended should have cleared away, below `dir`. */
export function leftovers(dir: string, isLeft: (entry: Dirent) => boolean): readonly string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(isLeft)
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)));
}

function nameOf({ path, sha256 }: { readonly path: string; readonly sha256: string }): string {
  return `${path} ${sha256}`;
}

function countDifference(found: readonly string[], wanted: readonly string[]): { lost: number; doubled: number } {
  const owed = new Map<string, number>();
  for (const row of wanted) owed.set(row, (owed.get(row) ?? 0) + 1);
  for (const row of found) owed.set(row, (owed.get(row) ?? 0) - 1);
  let lost = 0;
  let doubled = 0;
  for (const count of owed.values()) {
    if (count > 0) lost += count;
    else doubled -= count;
  }
  return { lost, doubled };
}

function sha256Of(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
