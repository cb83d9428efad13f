/** The jobs that are scored again and again: their inputs, their deployments, and what an undisturbed run makes of each. */
import { cpSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { runProgram } from '../helpers/programs.ts';
import { Random } from '../sim/world.ts';
import { shapeNames, type ShapeName } from './chaos-plan.ts';
import { readResult, type Result } from './check-output.ts';

export interface JobShape {
  readonly name: ShapeName;
  readonly outputFile: string;
  /** Paths. */
  readonly input: string;
  readonly deployment: string;
  /** Of an undisturbed run, in which nothing is poison. */
  readonly wanted: Result;
  /** Files that can be made so that they cannot be scored; null: there are none. */
  readonly poison: Poison | null;
}

export interface Poison {
  /** Relative to the input. */
  readonly paths: readonly string[];
  spoil(): void;
  /** As they were when the undisturbed run read them, to the nanosecond. */
  mend(): void;
}

interface Sketch {
  readonly script: 'chaos-rows.mjs' | 'chaos_rows.py';
  readonly files: number;
  readonly miniBatchSize: number;
  /** How long a file takes. */
  readonly workMsMax: number;
  /** Of the row of file `index`. */
  readonly kibibytes: (random: Random, index: number) => number;
  readonly isCustom: boolean;
  readonly format: 'csv' | 'jsonl' | 'azure';
  /** Every so many files one can be poison. */
  readonly poisonEvery?: number;
  /** Otherwise as good as any number, because what is killed here is never the file's fault. */
  readonly triesMax?: number;
}

const sketches: Readonly<Record<ShapeName, Sketch>> = {
  // Results inside reports.
  small: {
    ...{ script: 'chaos-rows.mjs', files: 240, miniBatchSize: 4, workMsMax: 120 },
    ...{ kibibytes: (random) => random.pick([0, 0, 0, 1, 4]), isCustom: false, format: 'csv' },
  },
  // Upload streams; a few too large to be appended at once, and some to be held in a node's memory.
  large: {
    ...{ script: 'chaos-rows.mjs', files: 60, miniBatchSize: 2, workMsMax: 250 },
    ...{ kibibytes: (random, index) => largeRow(random, index), isCustom: false, format: 'jsonl' },
  },
  // Files that the script writes by itself.
  custom: {
    ...{ script: 'chaos-rows.mjs', files: 120, miniBatchSize: 3, workMsMax: 150 },
    ...{ kibibytes: (random) => random.pick([0, 1, 30]), isCustom: true, format: 'csv' },
  },
  python: {
    ...{ script: 'chaos_rows.py', files: 120, miniBatchSize: 4, workMsMax: 120 },
    ...{ kibibytes: (random) => random.pick([0, 2, 60]), isCustom: false, format: 'azure' },
  },
  // Files that fail until they are mended.
  poison: {
    ...{ script: 'chaos-rows.mjs', files: 80, miniBatchSize: 4, workMsMax: 250 },
    ...{ kibibytes: (random) => random.pick([0, 1, 8]), isCustom: false, format: 'csv', poisonEvery: 5, triesMax: 4 },
  },
};

function largeRow(random: Random, index: number): number {
  if (index % 30 === 17) return 9_500;
  return index % 20 === 5 ? 4_500 : random.between(20, 200);
}

/** Writes inputs and deployments below `dir` and scores each once, undisturbed. */
export async function prepareShapes(dir: string, seed: number): Promise<ReadonlyMap<ShapeName, JobShape>> {
  const code = join(dir, 'code');
  mkdirSync(code);
  // A copy: the cluster's hosts must not write beside the sources.
  cpSync(packageFile('test', 'chaos', 'scorers'), code, { recursive: true });
  const shapes = new Map<ShapeName, JobShape>();
  for (const name of shapeNames) shapes.set(name, await prepareShape(dir, name, seed));
  return shapes;
}

async function prepareShape(dir: string, name: ShapeName, seed: number): Promise<JobShape> {
  const sketch = sketches[name];
  const files = [...inputsOf(sketch, new Random(seed))];
  const input = writeInputs(join(dir, `in-${name}`), files);
  const poison = poisonOf(input, files, sketch.poisonEvery ?? 0);
  poison?.mend();
  const outputDir = join(dir, `calm-${name}`);
  const args = ['run', writeYaml(dir, name, 0), '--input', input, '--output', outputDir, '--slots', '2'];
  const end = await runProgram(args, { cwd: dir }, 120_000);
  if (end.code !== 0) throw new Error(`the undisturbed run of ${name} ended with ${end.code}: ${end.stderr}`);
  const outputFile = outputFileOf(sketch);
  const wanted = readResult(outputDir, outputFile);
  if (wanted.files.length !== sketch.files) throw new Error(`${name}: ${wanted.files.length} files`);
  return { name, outputFile, input, deployment: writeYaml(dir, name, 1), wanted, poison };
}

/** When files of every undisturbed run and of every mended one were written: seconds of 2026. */
const mendedAt = 1_767_225_600;

function poisonOf(input: string, files: readonly [string, string][], every: number): Poison | null {
  if (every === 0) return null;
  const chosen = files.filter((_, index) => index % every === 3);
  const write = (content: (text: string) => string, at: number): void => {
    for (const [path, text] of chosen) {
      writeFileSync(join(input, path), content(text));
      utimesSync(join(input, path), at, at);
    }
  };
  return {
    paths: chosen.map(([path]) => path),
    spoil: () => write((text) => `poison ${text}`, mendedAt - 1),
    mend: () => write((text) => text, mendedAt),
  };
}

function* inputsOf({ files, workMsMax, kibibytes }: Sketch, random: Random): Generator<[string, string]> {
  for (let index = 0; index < files; index += 1) {
    const number = String(index).padStart(4, '0');
    const name = `f${number}-w${random.between(5, workMsMax)}-k${kibibytes(random, index)}.txt`;
    yield [join(`part-${String(Math.floor(index / 100))}`, name), `content ${index} ${'x'.repeat(index % 97)}\n`];
  }
}

function outputFileOf({ format }: Sketch): string {
  return format === 'jsonl' ? 'predictions.jsonl' : 'predictions.csv';
}

/** `pace` 0: no waiting. */
function writeYaml(dir: string, name: ShapeName, pace: number): string {
  const sketch = sketches[name];
  const path = join(dir, `${name}-${pace}.yml`);
  const lines = [
    `name: ${name}`,
    'code_configuration:',
    '  code: code',
    `  scoring_script: ${sketch.script}`,
    `mini_batch_size: ${sketch.miniBatchSize}`,
    `output_file_name: ${outputFileOf(sketch)}`,
    'retry_settings:',
    `  max_retries: ${sketch.triesMax ?? 1_000}`,
    '  timeout: 60',
    'output:',
    `  format: ${sketch.format}`,
    'environment_variables:',
    `  PACE: "${pace}"`,
    `  CUSTOM: "${sketch.isCustom ? 1 : 0}"`,
  ];
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}
