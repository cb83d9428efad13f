/**
 * `npm run fuzz -- --inputs N --seed S [--target NAME]`: inputs from one seed through everything that reads what comes from outside.
 * `--quiet` keeps no input that shows a defect. Ends with a line for each target and one for all; exit code 1 when anything crashed, hung, grew or was accepted wrongly.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzz, type TargetCount } from './fuzz.ts';
import { fuzzTargets } from './targets.ts';

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string' },
    quiet: { type: 'boolean', default: false },
  },
});
const targets = fuzzTargets.filter(({ name }) => values.target === undefined || values.target === name);
if (targets.length === 0 || !/^\d+$/.test(values.inputs) || !/^\d+$/.test(values.seed)) {
  const names = fuzzTargets.map(({ name }) => name).join(', ');
  console.error(`usage: npm run fuzz -- --inputs N --seed S [--target NAME]\ntargets: ${names}`);
  process.exit(2);
}

const dir = mkdtempSync(join(tmpdir(), 'batchmill-fuzz-'));
const startedAt = performance.now();
const counts = await fuzz({
  ...{ targets, inputs: Number(values.inputs), seed: Number(values.seed), dir },
  onDefect: ({ target, number, input, error }) => {
    const path = join(tmpdir(), `batchmill-fuzz-${target}-${values.seed}-${number}.bin`);
    if (!values.quiet) writeFileSync(path, input);
    const where = values.quiet ? '' : ` (${path})`;
    console.error(`DEFECT ${target}, input ${number}${where}: ${error instanceof Error ? error.stack : String(error)}`);
  },
  onTarget: (count) => console.log(lineOf(count)),
});
rmSync(dir, { recursive: true, force: true });
const sum = (key: 'inputs' | 'accepted' | 'refused' | 'defects'): number =>
  counts.reduce((total, count) => total + count[key], 0);
const seconds = (performance.now() - startedAt) / 1_000;
const rss = (process.memoryUsage().rss / 1_048_576).toFixed(0);
console.log(
  `${sum('inputs')} inputs (seed ${values.seed}) over ${counts.length} targets in ${seconds.toFixed(0)} s: ` +
    `${sum('accepted')} accepted, ${sum('refused')} refused, ${sum('defects')} defects; ${rss} MiB at the end`,
);
process.exit(sum('defects') === 0 ? 0 : 1);

function lineOf({ name, inputs, accepted, codes, defects, rssMib }: TargetCount): string {
  const refused = Object.entries(codes)
    .sort(([, a], [, b]) => b - a)
    .map(([code, count]) => `${count} ${code}`)
    .join(', ');
  return `${name.padEnd(16)} ${inputs} inputs, ${accepted} accepted, refused: ${refused || 'none'}; ${defects} defects; ${rssMib} MiB`;
}
