/** Whether two contenders came to the same rows. Their order is no matter, nor the last digits of numbers that were computed. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Agreement } from '../workloads/workload.ts';

const blockBytes = 8_388_608;
/** Between float32 of one library and another, and what they print of it. */
const nearness = 1e-4;
const growth = 1.5;

/** What an output holds, in a form that can be held against another. */
export interface Rows {
  readonly count: number;
  /** Null when the other has the same, else what is different, in words. */
  readonly differenceTo: (other: Rows) => string | null;
  readonly kept: unknown;
}

/** sha256 of the output's bytes, file by file: what is byte for byte the same need not be read as rows again. */
export function digestOf(output: string): string {
  const hash = createHash('sha256');
  for (const path of tablesOf(output)) for (const block of blocksOf(path)) hash.update(block);
  return hash.digest('hex');
}

export function readRows(output: string, agreement: Agreement): Rows {
  return agreement.kind === 'numbers' ? readNumbers(output, agreement.hasRows) : readLines(output);
}

/** Makes room. The rest of the folder stays: of a job that has just ended, the last lines of its logs may still be on their way. */
export function removeRows(output: string): void {
  for (const path of tablesOf(output)) rmSync(path);
}

/** The files with rows in them. */
function tablesOf(output: string): string[] {
  if (statSync(output, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  return readdirSync(output, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(csv|txt)$/.test(name) && !/(^|\/)[._]/.test(name))
    .sort()
    .map((name) => join(output, name));
}

/** The buffer is used again for the next block. */
function* blocksOf(path: string): Generator<Buffer> {
  const file = openSync(path, 'r');
  const block = Buffer.allocUnsafe(blockBytes);
  try {
    for (;;) {
      const bytes = readSync(file, block);
      if (bytes === 0) return;
      yield block.subarray(0, bytes);
    }
  } finally {
    closeSync(file);
  }
}

/** Without their ends; lines that are whole in a block are not copied. */
function* linesOf(path: string): Generator<Buffer> {
  let held: Buffer[] = [];
  for (const block of blocksOf(path)) {
    let from = 0;
    for (let end = block.indexOf(10); end !== -1; end = block.indexOf(10, from)) {
      const tail = block.subarray(from, end);
      yield held.length === 0 ? tail : Buffer.concat([...held, tail]);
      held = [];
      from = end + 1;
    }
    if (from < block.length) held.push(Buffer.from(block.subarray(from)));
  }
  if (held.length > 0) yield Buffer.concat(held);
}

/** A sum of digests of the lines, which does not depend on their order. */
function readLines(output: string): Rows {
  let [count, sum] = [0, 0n];
  for (const path of tablesOf(output)) {
    for (const line of linesOf(path)) {
      sum = BigInt.asUintN(64, sum + createHash('sha1').update(line).digest().readBigUInt64LE());
      count += 1;
    }
  }
  return {
    count,
    kept: sum,
    differenceTo: (other) =>
      count !== other.count
        ? `${count} lines, not ${other.count}`
        : sum !== other.kept
          ? 'as many lines, but not the same'
          : null,
  };
}

/** Cells of one file's rows, by their number in it. */
interface Cells {
  values: Float64Array;
  rows: number;
}

function readNumbers(output: string, hasRows: boolean): Rows {
  const byFile = new Map<string, Cells>();
  let [count, width] = [0, 0];
  for (const path of tablesOf(output)) {
    for (const line of linesOf(path)) {
      const [file = '', ...rest] = line
        .toString('latin1')
        .replaceAll(/["[\]\r]/g, '')
        .split(',');
      if (file === 'file') continue;
      const row = hasRows ? Number(rest.shift()) : 0;
      width = rest.length;
      const cells = byFile.get(file) ?? { values: new Float64Array(width), rows: 0 };
      byFile.set(file, cells);
      const needed = (row + 1) * width;
      if (needed > cells.values.length) {
        const more = new Float64Array(Math.ceil(needed * growth));
        more.set(cells.values);
        cells.values = more;
      }
      for (let cell = 0; cell < width; cell += 1) cells.values[row * width + cell] = Number(rest[cell]);
      cells.rows += 1;
      count += 1;
    }
  }
  return { count, kept: byFile, differenceTo: (other) => differenceOf(byFile, other.kept as typeof byFile, width) };
}

function differenceOf(
  rows: ReadonlyMap<string, Cells>,
  others: ReadonlyMap<string, Cells>,
  width: number,
): string | null {
  if (rows.size !== others.size) return `rows of ${rows.size} files, not of ${others.size}`;
  for (const [file, cells] of rows) {
    const other = others.get(file);
    if (other?.rows !== cells.rows) return `${cells.rows} rows of ${file}, not ${other?.rows ?? 0}`;
    for (let at = 0; at < cells.rows * width; at += 1) {
      const [one = Number.NaN, two = Number.NaN] = [cells.values[at], other.values[at]];
      if (Math.abs(one - two) <= nearness * Math.max(1, Math.abs(two))) continue;
      return `${file}, row ${Math.floor(at / width)}: ${one}, not ${two}`;
    }
  }
  return null;
}
