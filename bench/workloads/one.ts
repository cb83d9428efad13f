/** (h) one file: from the command to the finished output. */
import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';
import { batchmill, ceiling, oneThread, peers } from './contenders.ts';
import { makePythonTables, scriptCeiling, scriptOf } from './python-tables.ts';
import type { Contender, Place, Workload } from './workload.ts';

/** One image through a small ONNX model. */
export async function oneImage(place: Place): Promise<Workload> {
  const input = await place.data('one-image', (dir) => {
    const from = packageFile('examples', 'digits', 'inputs', 'depot-a');
    const [name = ''] = readdirSync(from).sort();
    copyFileSync(join(from, name), join(dir, name));
  });
  const model = packageFile('examples', 'digits', 'model', 'digits.onnx');
  const work = ['--model', model, '--side', '28', '--channels', '1', '--scores', 'logits'];
  return {
    name: 'one-image',
    title: 'one PNG, ONNX model',
    input,
    count: 1,
    unit: 'files',
    agreement: { kind: 'numbers', hasRows: false },
    contenders: [
      ...batchmill(model, input),
      ceiling('onnx-images.mjs', ['--input', input, ...work, '--processes', '1']),
      ...(await peers(place, ['multiprocessing', 'ray data'], { kind: 'images', input, more: work })),
    ],
  };
}

/** One table through a Python script, beside what its interpreter needs to import the same libraries. */
export async function oneTable(place: Place): Promise<Workload> {
  const made = await makePythonTables(place, 1);
  const input = join(made.dir, 'inputs');
  const imports: Contender = {
    name: 'imports alone',
    cold: () => ({
      argv: [made.python, '-c', 'import joblib, pandas, sklearn.ensemble, sklearn.pipeline'],
      env: oneThread,
    }),
    warm: null,
    rows: 'none',
  };
  return {
    name: 'one-table',
    title: 'one CSV file, Python script with pandas and scikit-learn',
    input,
    count: 1,
    unit: 'files',
    agreement: { kind: 'numbers', hasRows: true },
    contenders: [
      ...batchmill(join(made.dir, 'deployment.yml'), input, ['--environment', made.python]),
      scriptCeiling(made, ['--processes', '1']),
      imports,
      ...(await peers(place, ['multiprocessing', 'ray data'], {
        kind: 'script',
        input,
        more: ['--model', scriptOf(made)],
      })),
    ],
  };
}
