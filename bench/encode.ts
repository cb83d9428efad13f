/**
 * What Parquet costs: an encode task over an Arrow stream of 1, 3 and 10 million rows (`ENCODE_ROWS`), into one file and into
 * folders by a column of 20 values, each in a process of its own. One JSON line each, with rows a second, the most memory
 * that was resident, files and bytes. More memory than a few windows of rows ends the bench with 1.
 */
import { spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Float64,
  Int64,
  makeData,
  RecordBatch,
  Schema,
  Field,
  Struct,
  Utf8,
  vectorFromArray,
  type Data,
} from 'apache-arrow';
import type { HostInit } from '../common/core/host-protocol.ts';
import { limits } from '../common/core/limits.ts';
import { partCompressions, type PartCompression, type PartFile } from '../common/core/parts-form.ts';
import { batchMessage, schemaMessage } from '../common/format/arrow-message.ts';
import { endOfStream } from '../common/format/arrow-stream.ts';
import { systemClock } from '../common/io/clock.ts';
import { openEncodeScorer } from '../worker/scorers/encode-scorer.ts';

const batchRows = 10_000;
/** A process with Arrow and Parquet loaded is 100 MiB; a window of rows is there up to four times. */
const residentMiBMax = 320;
const schema = new Schema([
  new Field('id', new Int64(), true),
  new Field('score', new Float64(), true),
  new Field('label', new Utf8(), true),
  new Field('text', new Utf8(), true),
]);

/** A generator of 32-bit numbers that is the same in each run. @source Marsaglia's xorshift32 */
function randoms(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Scores and texts of which no two are the same: 20 letters and digits, as identifiers of files are. */
function batchAt(first: number, random: () => number): RecordBatch {
  const ids = BigInt64Array.from({ length: batchRows }, (_, i) => BigInt(first + i));
  const scores = Float64Array.from({ length: batchRows }, () => random() / 2 ** 32);
  const labels = Array.from({ length: batchRows }, () => `label-${random() % 20}`);
  const texts = Array.from({ length: batchRows }, () =>
    (random().toString(36) + random().toString(36) + random().toString(36)).slice(0, 20),
  );
  const of = (values: string[]): Data => vectorFromArray(values, new Utf8()).data[0] as Data;
  const children = [makeData({ type: new Int64(), data: ids }), makeData({ type: new Float64(), data: scores })];
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: batchRows, children: [...children, of(labels), of(texts)] }),
  );
}

async function writeStream(path: string, rows: number): Promise<void> {
  const random = randoms(2_024);
  const file = createWriteStream(path);
  file.write(schemaMessage(schema).message);
  for (let first = 0; first < rows; first += batchRows) {
    const batch = batchAt(first, random);
    const { bytes } = batchMessage(schema, batch.data.children, batchRows);
    if (!file.write(bytes)) await once(file, 'drain');
  }
  file.end(endOfStream);
  await once(file, 'finish');
}

interface Task {
  readonly path: string;
  readonly dir: string;
  readonly rows: number;
  readonly partitionBy: readonly string[];
  readonly compression: PartCompression;
}

/** In a process of its own. */
async function encode({ path, dir, rows, partitionBy, compression }: Task): Promise<void> {
  const scorer = await openEncodeScorer({ customDir: dir } as HostInit, {
    kind: 'encode',
    rows: 'arrow',
    metadata: {},
    parts: {
      format: 'parquet',
      partitionBy,
      header: false,
      fileRows: null,
      fileBytes: null,
      rowGroupRows: limits.rowGroupRowsDefault,
      compression,
    },
  });
  let lines = '';
  const from = systemClock.monotonic();
  const emit = (pieces: Iterable<Uint8Array>): Promise<void> => {
    for (const piece of pieces) lines += Buffer.from(piece).toString();
    return Promise.resolve();
  };
  await scorer.score([{ path, name: 'part-00000.parquet' }], { begin: () => undefined, emit }, null);
  const ms = systemClock.monotonic() - from;
  const parts = lines
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as PartFile);
  const inMib = (bytes: number): number => Math.round(bytes / 2 ** 20);
  console.log(
    JSON.stringify({
      bench: 'encode',
      rows,
      partitionBy: partitionBy.join() || null,
      compression,
      rowsPerSecond: Math.round((parts.reduce((sum, part) => sum + part.rows, 0) * 1_000) / ms),
      residentMiB: inMib(process.resourceUsage().maxRSS * 1_024),
      streamMiB: inMib(statSync(path).size),
      files: parts.length,
      filesMiB: inMib(parts.reduce((sum, part) => sum + part.bytes, 0)),
    }),
  );
}

const [task] = process.argv.slice(2);
if (task !== undefined) await encode(JSON.parse(task) as Task);
else {
  const sizes = (process.env['ENCODE_ROWS'] ?? '1000000,3000000,10000000').split(',').map(Number);
  const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-encode-'));
  const path = join(dir, 'rows.arrows');
  let mostMiB = 0;
  try {
    for (const rows of sizes) {
      await writeStream(path, rows);
      for (const compression of rows === sizes.at(-1) ? partCompressions : (['snappy'] as const)) {
        for (const partitionBy of compression === 'snappy' ? [[], ['label']] : [[]]) {
          const out = join(dir, 'out');
          rmSync(out, { recursive: true, force: true });
          mkdirSync(out);
          const given = JSON.stringify({ path, dir: out, rows, partitionBy, compression } satisfies Task);
          const done = spawnSync(process.execPath, [fileURLToPath(import.meta.url), given], { encoding: 'utf8' });
          process.stderr.write(done.stderr);
          process.stdout.write(done.stdout);
          if (done.status !== 0) process.exit(1);
          mostMiB = Math.max(mostMiB, (JSON.parse(done.stdout) as { readonly residentMiB: number }).residentMiB);
        }
      }
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  if (mostMiB > residentMiBMax) process.exitCode = 1;
}
