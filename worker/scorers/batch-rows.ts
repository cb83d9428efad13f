/** Record batches one after the other, cut where a file or a row group is to end, and put together where they are small. */
import type { Data, DataType, RecordBatch } from 'apache-arrow';
import { limits } from '../../common/core/limits.ts';
import { gather, runOf, ungatherable, type Pick } from '../../common/format/arrow-gather.ts';
import {
  batchMessage,
  decodeBatches,
  schemaMessage,
  type BatchMessage,
  type StreamSchema,
} from '../../common/format/arrow-message.ts';
import { columnsWithoutSeconds, withoutSeconds } from '../../common/format/parquet-times.ts';

/** What rows are taken from. */
export interface BatchSource {
  readonly schema: StreamSchema;
  /** Null behind the last one. @throws OUTPUT_CORRUPT */
  next(): Promise<BatchMessage | null>;
}

/** The same, with types that Parquet has. */
export function parquetSource(source: BatchSource): BatchSource {
  const found = withoutSeconds(source.schema.schema);
  if (found === null) return source;
  const schema = schemaMessage(found);
  const next = async (): Promise<BatchMessage | null> => {
    const message = await source.next();
    const [batch] = message === null ? [] : decodeBatches(source.schema, [message]);
    return batch ? batchMessage(found, columnsWithoutSeconds(batch, found), batch.numRows) : null;
  };
  return { schema, next };
}

/** The same in fewer batches: small ones are put together until they have `rowsMin` rows, others stay as they are. */
export function joinedSource({ schema, next }: BatchSource, rowsMin: number): BatchSource {
  const places = Array.from(schema.schema.fields.keys());
  const nextJoined = async (): Promise<BatchMessage | null> => {
    const found: BatchMessage[] = [];
    let rows = 0;
    let bytes = 0;
    while (rows < rowsMin && bytes < limits.partWindowBytes) {
      const message = await next();
      if (message === null) break;
      found.push(message);
      rows += message.rows;
      bytes += message.bytes.length;
    }
    if (found.length < 2) return found[0] ?? null;
    const batches = decodeBatches(schema, found);
    return joined(
      schema,
      places,
      batches.map((batch) => ({ batch, runs: runOf(0, batch.numRows) })),
    );
  };
  return { schema, next: nextJoined };
}

/** Hands out the batches of `source`, at most as many rows as are asked for at a time. */
export class BatchRows {
  readonly schema: StreamSchema;
  readonly #source: BatchSource;
  /** Small batches of some types stay as they are. */
  readonly #isJoinable: boolean;
  #ahead: BatchMessage | null = null;
  /** Rows of `#ahead` that were taken, and its columns, once it was cut. */
  #taken = 0;
  #batch: RecordBatch | null = null;

  constructor(source: BatchSource) {
    this.schema = source.schema;
    this.#source = source;
    this.#isJoinable = source.schema.schema.fields.every(({ type }) => ungatherable(type as DataType) === null);
  }

  /** Whether no rows are left. */
  async isDone(): Promise<boolean> {
    while (this.#ahead === null) {
      const next = await this.#source.next();
      if (next === null) return true;
      if (next.rows > 0) this.#ahead = next;
    }
    return false;
  }

  /** The next batch, or as much of it as is asked for; null when no rows are left. */
  async take(rowsMax: number): Promise<BatchMessage | null> {
    if (await this.isDone()) return null;
    const message = this.#ahead as BatchMessage;
    const from = this.#taken;
    const to = Math.min(message.rows, from + rowsMax);
    const isWhole = from === 0 && to === message.rows;
    const batch = isWhole ? null : (this.#batch ?? decodeBatches(this.schema, [message])[0] ?? null);
    const isLast = to === message.rows;
    this.#ahead = isLast ? null : message;
    this.#taken = isLast ? 0 : to;
    this.#batch = isLast ? null : batch;
    return batch === null ? message : this.#joined([{ batch, runs: runOf(from, to) }]);
  }

  /**
   * Batches put together, of `rows` rows where they do not take too much memory. A batch that fits as it is stays as it is.
   */
  async collect(rows: number): Promise<BatchMessage | null> {
    const found: BatchMessage[] = [];
    let count = 0;
    let bytes = 0;
    while (count < rows && bytes < limits.partWindowBytes && (this.#isJoinable || count === 0)) {
      const next = await this.take(rows - count);
      if (next === null) break;
      found.push(next);
      count += next.rows;
      bytes += next.bytes.length;
    }
    const [first] = found;
    if (first === undefined || found.length === 1) return first ?? null;
    const batches = decodeBatches(this.schema, found);
    return this.#joined(batches.map((batch) => ({ batch, runs: runOf(0, batch.numRows) })));
  }

  #joined(found: readonly BatchRuns[]): BatchMessage {
    return joined(this.schema, Array.from(this.schema.schema.fields.keys()), found);
  }
}

/** Rows of one record batch. */
export interface BatchRuns {
  readonly batch: RecordBatch;
  /** As `Pick.runs` of arrow-gather. */
  readonly runs: Uint32Array;
}

/** One batch of them all; `places`: which columns, of all that the batches have. */
export function joined({ schema }: StreamSchema, places: readonly number[], found: readonly BatchRuns[]): BatchMessage {
  const columns = places.map((place) =>
    gather(found.map(({ batch, runs }): Pick => ({ data: batch.data.children[place] as Data, runs }))),
  );
  let rows = 0;
  for (const { runs } of found) for (let i = 0; i < runs.length; i += 2) rows += (runs[i + 1] ?? 0) - (runs[i] ?? 0);
  return batchMessage(schema, columns, rows);
}
