/** Runs encode tasks in a folder of its own, and asks readers in Python what they made. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { EncodeScorer } from '../../common/core/deployment.ts';
import type { HostInit } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import type { PartFile, PartsForm } from '../../common/core/parts-form.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { openEncodeScorer } from '../../worker/scorers/encode-scorer.ts';
import { testPython } from './python.ts';
import { TempFolder } from './temp-folder.ts';

export interface Encoded {
  readonly dir: string;
  readonly parts: readonly PartFile[];
  /** Absolute paths of the parts. */
  readonly files: readonly string[];
}

/** What Python finds in files whose rows are those of their stream. */
export interface Told {
  readonly rows: readonly number[];
  readonly groups: readonly (readonly number[])[];
  readonly metadata: readonly Record<string, string>[];
  readonly codec?: string | null;
  readonly duckdb?: number;
  readonly pandas?: number;
}

const form: PartsForm = {
  format: 'parquet',
  partitionBy: [],
  header: false,
  fileRows: null,
  fileBytes: null,
  rowGroupRows: limits.rowGroupRowsDefault,
  compression: 'snappy',
};

/** Of Parquet, unless the changes say otherwise. */
export function encodeScorerOf(
  changes: Partial<PartsForm>,
  metadata: Readonly<Record<string, string>> = {},
): EncodeScorer {
  const parts = { ...form, ...changes };
  const { format } = parts;
  const rows = format === 'azure' || format === 'csv' || format === 'jsonl' ? format : 'arrow';
  return { kind: 'encode', parts, rows, metadata };
}

export class EncodeBench {
  readonly folder: TempFolder = new TempFolder();
  #made = 0;

  /** With streams of all types (`types.arrows`, `empty.arrows`) and of odd values (`odd.arrows`). */
  constructor() {
    python('make', this.folder.path);
  }

  path(name: string): string {
    return join(this.folder.path, name);
  }

  /** Encodes one range; `input` lies in the folder. Holds what was told against what is there. */
  async encode(
    input: string,
    name: string,
    changes: Partial<PartsForm>,
    metadata?: Readonly<Record<string, string>>,
  ): Promise<Encoded> {
    this.#made += 1;
    const dir = this.path(`out-${this.#made}`);
    mkdirSync(dir);
    const scorer = await openEncodeScorer({ customDir: dir } as HostInit, encodeScorerOf(changes, metadata));
    const began: number[] = [];
    let lines = '';
    const port = {
      begin: (index: number) => void began.push(index),
      emit: (pieces: Iterable<Uint8Array>) => {
        for (const piece of pieces) lines += Buffer.from(piece).toString();
        return Promise.resolve();
      },
    };
    const scored = await scorer.score([{ path: this.path(input), name }], port, null);
    const parts = partsOf(lines);
    expect(began).toEqual([0]);
    expect(scored).toMatchObject({ rows: parts.length, attribution: 'file', fileRows: [parts.length], failed: [] });
    const files = parts.map(({ path }) => join(dir, path));
    expect(files.map((path) => statSync(path).size)).toEqual(parts.map(({ bytes }) => bytes));
    // Nothing else stays: what was put aside is gone.
    const names = readdirSync(dir, { recursive: true, withFileTypes: true });
    const there = names.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
    expect(there.toSorted()).toEqual(files.toSorted());
    expect(names.filter((one) => one.name.startsWith('.'))).toEqual([]);
    return { dir, parts, files };
  }

  /** Python holds the rows of the files against those of the stream. */
  look(input: string, format: string, { files }: Encoded): Told {
    return JSON.parse(python('plain', this.path(input), format, ...files)) as Told;
  }

  /** The same of folders. */
  lookHive(input: string, { dir }: Encoded, ...columns: readonly string[]): unknown {
    return JSON.parse(python('hive', this.path(input), dir, ...columns));
  }

  close(): void {
    this.folder.remove();
  }
}

/** The files that the rows of a result name. */
export function partsOf(lines: string): readonly PartFile[] {
  return lines
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as PartFile);
}

function python(...args: readonly string[]): string {
  const done = spawnSync(testPython(), [packageFile('test', 'helpers', 'check_parts.py'), ...args]);
  if (done.status !== 0) throw new Error(`python ended with ${done.status}: ${done.stderr.toString().slice(-4_000)}`);
  return done.stdout.toString();
}
