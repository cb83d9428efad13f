/** The jobs that are scored again and again: their inputs, their deployments, and what an undisturbed run makes of each. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { runProgram } from '../helpers/programs.ts';
import { Random } from '../sim/world.ts';
import { readResult, type Result } from './check-output.ts';

export interface JobShape {
  readonly name: string;
  readonly outputFile: string;
  /** Paths. */
  readonly input: string;
  readonly deployment: string;
  /** Of an undisturbed run. */
  readonly wanted: Result;
}

interface Sketch {
  readonly name: string;
  readonly script: 'chaos-rows.mjs' | 'chaos_rows.py';
  readonly files: number;
  readonly miniBatchSize: number;
  /** How long a file takes. */
  readonly workMsMax: number;
  /** Of the row of file `index`. */
  readonly kibibytes: (random: Random, index: number) => number;
  readonly isCustom: boolean;
  readonly format: 'csv' | 'jsonl' | 'azure';
}

const sketches: readonly Sketch[] = [
  // Results inside reports.
  {
    ...{ name: 'small', script: 'chaos-rows.mjs', files: 240, miniBatchSize: 4, workMsMax: 120 },
    ...{ kibibytes: (random) => random.pick([0, 0, 0, 1, 4]), isCustom: false, format: 'csv' },
  },
  // Upload streams; a few too large to be appended at once, and some to be held in a node's memory.
  {
    ...{ name: 'large', script: 'chaos-rows.mjs', files: 60, miniBatchSize: 2, workMsMax: 250 },
    ...{ kibibytes: (random, index) => largeRow(random, index), isCustom: false, format: 'jsonl' },
  },
  // Files that the script writes by itself.
  {
    ...{ name: 'custom', script: 'chaos-rows.mjs', files: 120, miniBatchSize: 3, workMsMax: 150 },
    ...{ kibibytes: (random) => random.pick([0, 1, 30]), isCustom: true, format: 'csv' },
  },
  {
    ...{ name: 'python', script: 'chaos_rows.py', files: 120, miniBatchSize: 4, workMsMax: 120 },
    ...{ kibibytes: (random) => random.pick([0, 2, 60]), isCustom: false, format: 'azure' },
  },
];

function largeRow(random: Random, index: number): number {
  if (index % 30 === 17) return 9_500;
  return index % 20 === 5 ? 4_500 : random.between(20, 200);
}

/** Writes inputs and deployments below `dir` and scores each once, undisturbed. */
export async function prepareShapes(dir: string, seed: number): Promise<readonly JobShape[]> {
  const code = join(dir, 'code');
  mkdirSync(code);
  // A copy: the cluster's hosts must not write beside the sources.
  cpSync(packageFile('test', 'chaos', 'scorers'), code, { recursive: true });
  const shapes: JobShape[] = [];
  for (const sketch of sketches) {
    const input = writeInputs(join(dir, `in-${sketch.name}`), inputsOf(sketch, new Random(seed)));
    const calm = writeYaml(dir, sketch, 0);
    const outputDir = join(dir, `calm-${sketch.name}`);
    const args = ['run', calm, '--input', input, '--output', outputDir, '--slots', '2'];
    const end = await runProgram(args, { cwd: dir }, 120_000);
    if (end.code !== 0) throw new Error(`the undisturbed run of ${sketch.name} ended with ${end.code}: ${end.stderr}`);
    const outputFile = outputFileOf(sketch);
    const wanted = readResult(outputDir, outputFile);
    if (wanted.files.length !== sketch.files) throw new Error(`${sketch.name}: ${wanted.files.length} files`);
    shapes.push({ name: sketch.name, outputFile, input, deployment: writeYaml(dir, sketch, 1), wanted });
  }
  return shapes;
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

/** `pace` 0: no waiting. Retries are many, because what is killed here is never the file's fault. */
function writeYaml(dir: string, sketch: Sketch, pace: number): string {
  const path = join(dir, `${sketch.name}-${pace}.yml`);
  const lines = [
    `name: ${sketch.name}`,
    'code_configuration:',
    '  code: code',
    `  scoring_script: ${sketch.script}`,
    `mini_batch_size: ${sketch.miniBatchSize}`,
    `output_file_name: ${outputFileOf(sketch)}`,
    'retry_settings:',
    '  max_retries: 1000',
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
