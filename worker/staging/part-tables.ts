/** What this node knows of tables that are shared out: where their rows begin. One part of a file at a time; different files at once. */
import { extname } from 'node:path';
import type { Scorer } from '../../common/core/deployment.ts';
import type { HostPart } from '../../common/core/host-protocol.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { FilePart, InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { GroupTable } from './group-table.ts';
import type { Keep, PartSource } from './part-source.ts';
import { TextTable } from './text-table.ts';

/** An input that is a part. */
export type PartInput = InputFile & { readonly part: FilePart };

interface Table {
  locate(part: FilePart, source: PartSource, keep: Keep | null): Promise<HostPart | null>;
}

interface KnownTable {
  readonly table: Table;
  /** What was asked before. */
  turn: Promise<unknown>;
}

const [comma, tab] = [0x2c, 0x09];

export class PartTables {
  /** Least recently used first. */
  readonly #known = new Map<string, KnownTable>();

  /**
   * Which rows of the file the part has; null: all. `keep` gets what a host needs to read them.
   * Throws INPUT_DECODE_FAILED for a file whose footer is none, and what the source throws.
   */
  async locate(
    job: JobName,
    reader: Scorer['kind'],
    file: PartInput,
    source: PartSource,
    keep: Keep | null,
  ): Promise<HostPart | null> {
    const known = this.#tableOf(JSON.stringify([job, file.path, file.identity]), reader, file);
    const locating = known.turn.then(() => known.table.locate(file.part, source, keep));
    known.turn = locating.catch(() => undefined);
    return await locating;
  }

  #tableOf(key: string, reader: Scorer['kind'], file: PartInput): KnownTable {
    const known = this.#known.get(key) ?? { table: openTable(file, reader), turn: Promise.resolve() };
    this.#known.delete(key);
    this.#known.set(key, known);
    if (this.#known.size > limits.splitTablesKnown) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    return known;
  }
}

function openTable({ path }: InputFile, reader: Scorer['kind']): Table {
  const extension = extname(path).toLowerCase();
  switch (extension) {
    case '.parquet':
    case '.pqt':
      return new GroupTable('parquet', path);
    case '.arrow':
    case '.feather':
    case '.ipc':
      return new GroupTable('arrow', path);
    case '.jsonl':
    case '.ndjson':
      return new TextTable({ kind: 'lines' });
    default:
      return new TextTable({
        ...{ kind: 'csv', delimiter: extension === '.tsv' ? tab : comma },
        isPandas: reader === 'mlflow',
      });
  }
}
