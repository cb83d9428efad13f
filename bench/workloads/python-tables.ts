/** (d) a Python script with pandas and scikit-learn. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { invariant } from '../../common/core/invariant.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { batchmill, ceiling, dataPeers, peers } from './contenders.ts';
import { sized, type Contender, type Place, type Workload } from './workload.ts';

const filesOfBatch = 2;

/** `inputs`, `code` and `deployment.yml` in `dir`, and the Python with the libraries that the script imports. */
export interface PythonTables {
  readonly dir: string;
  readonly python: string;
}

export async function pythonTables(place: Place): Promise<Workload> {
  const files = sized(place, 200, 8);
  const made = await makePythonTables(place, files);
  const input = join(made.dir, 'inputs');
  const batch = ['--batch', String(filesOfBatch)];
  return {
    name: 'python',
    title: `${files} CSV files, Python script with pandas and scikit-learn`,
    input,
    count: files,
    unit: 'files',
    agreement: { kind: 'numbers', hasRows: true },
    contenders: [
      ...batchmill(join(made.dir, 'deployment.yml'), input, ['--environment', made.python]),
      scriptCeiling(made, batch),
      ...(await peers(place, dataPeers, { kind: 'script', input, more: ['--model', scriptOf(made), ...batch] })),
    ],
  };
}

/** So many tables, a model trained on others like them, and its deployment. */
export async function makePythonTables(place: Place, files: number): Promise<PythonTables> {
  const python = await place.python('scoring');
  const dir = await place.data(`python-tables-${files}`, (unfinished) => {
    const train = packageFile('bench', 'workloads', 'train.py');
    const { status, stderr } = spawnSync(python, [train, unfinished, String(files)], { encoding: 'utf8' });
    invariant(status === 0, `${train} ended with ${status}: ${stderr}`);
  });
  return { dir, python };
}

export function scriptOf({ dir }: PythonTables): string {
  return join(dir, 'code', 'score.py');
}

/** The script in a bare loop. */
export function scriptCeiling(made: PythonTables, more: readonly string[]): Contender {
  const args = ['--input', join(made.dir, 'inputs'), '--script', scriptOf(made), ...more];
  return ceiling('python_script.py', args, made.python);
}
