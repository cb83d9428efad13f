/**
 * What rows cost by format: a wide table of numbers, encoded in the scoring host's own encoder, in CSV and Arrow by turns. One
 * JSON line each, with rows and MiB a second of processor time; Arrow must be faster.
 */
import { makeVector, Table } from 'apache-arrow';
import { invariant } from '../common/core/invariant.ts';
import { defaultOutputForm } from '../common/core/output-form.ts';
import { systemClock } from '../common/io/clock.ts';
import { openRowEncoder } from '../common/format/row-encoder.ts';

const rows = 10_000;
const columns = 100;
const rounds = 6;
const calls = 10;

const cells = (column: number): Float32Array => Float32Array.from({ length: rows }, (_, i) => Math.sin(i + column));
const vectors = Array.from({ length: columns }, (_, i) => [`f${i}`, makeVector(cells(i))] as const);
const table = new Table(Object.fromEntries(vectors));

interface Round {
  readonly rowsPerSecond: number;
  readonly bytes: number;
}

async function round(format: 'csv' | 'arrow'): Promise<Round> {
  const encoder = await openRowEncoder(format, defaultOutputForm);
  let bytes = 0;
  const from = systemClock.monotonic();
  for (let call = 0; call < calls; call += 1) {
    for (const piece of encoder.table(table).pieces) bytes += piece.length;
  }
  return { rowsPerSecond: (rows * calls * 1_000) / (systemClock.monotonic() - from), bytes: bytes / calls };
}

const found = { csv: [] as Round[], arrow: [] as Round[] };
for (let i = 0; i < rounds; i += 1) {
  found.csv.push(await round('csv'));
  found.arrow.push(await round('arrow'));
}
const medians = (['csv', 'arrow'] as const).map((format) => {
  const speeds = found[format].map(({ rowsPerSecond }) => rowsPerSecond).toSorted((a, b) => a - b);
  const median = speeds[Math.floor(speeds.length / 2)] as number;
  const bytes = found[format][0]?.bytes ?? 0;
  const mibPerSecond = Math.round((median * bytes) / rows / 2 ** 20);
  const line = { bench: 'formats', format, columns, rowsPerSecond: Math.round(median), mibPerSecond };
  console.log(JSON.stringify({ ...line, bytesPerRow: Math.round(bytes / rows) }));
  return median;
});
const [csv = 0, arrow = 0] = medians;
invariant(csv > 0, 'rows take time');
if (arrow <= csv) process.exitCode = 1;
