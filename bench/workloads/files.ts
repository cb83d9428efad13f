/** (e) mini-batches of nothing, (f) tiny files, (g) results far larger than inputs: scripts that compute next to nothing. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';
import { batchmill, ceiling, peers, serving } from './contenders.ts';
import { sized, type Contender, type Place, type Workload } from './workload.ts';

const filesOfFolder = 1_000;

/** One mini-batch a file, a durable journal, and no work. */
export async function nothing(place: Place): Promise<Workload> {
  const count = sized(place, Number(process.env['BENCH_MINI_BATCHES'] ?? 20_000), 500);
  const input = await place.data(`empty-${count}`, (dir) => writeFiles(dir, count, () => ''));
  const script = await place.data('nothing-script', (dir) => writeScript(dir, 'return context.names.map(() => "x");'));
  const [ours, ourClient] = batchmill(join(script, 'deployment.yml'), input, ['--mini-batch-size', '1']);
  return {
    name: 'nothing',
    title: `${count} mini-batches without work`,
    input,
    count,
    unit: 'mini-batches',
    agreement: { kind: 'lines' },
    // What `run` keeps is not made durable, so that it is no match for what is measured here.
    contenders: [
      { ...ours, cold: null },
      ourClient,
      nodeCeiling(input, join(script, 'script.mjs'), 1),
      ...(await peers(place, ['multiprocessing', 'ray data', 'dask'], { kind: 'nothing', input })),
      ...(await programRunners(place, input, count)),
    ],
  };
}

/** What is in each is read and counted. */
export async function tiny(place: Place): Promise<Workload> {
  const count = sized(place, 100_000, 1_000);
  const input = await place.data(`tiny-${count}`, (dir) => writeFiles(dir, count, (i) => `${i} `.repeat(20)));
  const body = [
    'return paths.map((path, i) => {',
    '  const bytes = readFileSync(path);',
    '  return `${context.names[i]} ${bytes.length} ${crc32(bytes)}`;',
    '});',
  ];
  const script = await place.data('tiny-script', (dir) => writeScript(dir, body.join('\n')));
  return {
    name: 'tiny',
    title: `${count} tiny files, read and summed`,
    input,
    count,
    unit: 'files',
    agreement: { kind: 'lines' },
    contenders: [
      ...batchmill(join(script, 'deployment.yml'), input),
      nodeCeiling(input, join(script, 'script.mjs'), 500),
      ...(await peers(place, ['multiprocessing', 'ray data', 'dask'], {
        kind: 'tiny',
        input,
        more: ['--batch', '500'],
      })),
    ],
  };
}

const kilobyte = 1_000;
const megabyte = 1_000_000;

/** A kilobyte in, a megabyte out. */
export async function large(place: Place): Promise<Workload> {
  const count = sized(place, 500, 20);
  const input = await place.data(`kilobyte-${count}`, (dir) =>
    writeFiles(dir, count, (i) => `${i} `.repeat(kilobyte).slice(0, kilobyte)),
  );
  const body = `return paths.map((path) => readFileSync(path, 'latin1').repeat(${megabyte / kilobyte}));`;
  const script = await place.data('large-script', (dir) => writeScript(dir, body));
  const stream = packageFile('bench', 'ceilings', 'raw-stream.mjs');
  const raw = serving('raw gRPC', {
    argv: [process.execPath, stream, '--input', input, '--script', join(script, 'script.mjs')],
  });
  return {
    name: 'large',
    title: `${count} files of 1 KB in, 1 MB out each`,
    input,
    count: (count * megabyte) / 1_000_000,
    unit: 'MB',
    agreement: { kind: 'lines' },
    contenders: [
      ...batchmill(join(script, 'deployment.yml'), input),
      nodeCeiling(input, join(script, 'script.mjs'), 1),
      raw,
    ],
  };
}

/** Peers whose unit of work is a program. */
async function programRunners(place: Place, input: string, count: number): Promise<Contender[]> {
  const found: Contender[] = [];
  if (place.wants('hyperqueue')) {
    const python = await place.python('hyperqueue');
    const argv = [python, packageFile('bench', 'peers', 'with_hyperqueue.py'), '--count', String(count)];
    found.push(serving('hyperqueue', { argv }, 'none'));
  }
  if (place.wants('gnu parallel')) {
    const script = packageFile('bench', 'peers', 'with_gnu_parallel.sh');
    found.push({ name: 'gnu parallel', cold: (output) => ({ argv: ['sh', script, input, output] }), warm: null });
  }
  return found;
}

function nodeCeiling(input: string, script: string, batch: number): Contender {
  return ceiling('node-script.mjs', ['--input', input, '--script', script, '--batch', String(batch)]);
}

function writeFiles(dir: string, count: number, text: (file: number) => string): void {
  for (let file = 0; file < count; file += 1) {
    const folder = join(dir, `part-${String(Math.floor(file / filesOfFolder)).padStart(4, '0')}`);
    if (file % filesOfFolder === 0) mkdirSync(folder);
    writeFileSync(join(folder, `file-${String(file).padStart(7, '0')}.txt`), text(file));
  }
}

/** The peers' processes stay as well, where a start is warm. */
const warmDeployment = `name: script
code_configuration:
  code: .
  scoring_script: script.mjs
settings:
  mini_batch_size: auto
  resources:
    keep_warm: true
`;

function writeScript(dir: string, body: string): void {
  const imports = "import { readFileSync } from 'node:fs';\nimport { crc32 } from 'node:zlib';\n";
  writeFileSync(join(dir, 'script.mjs'), `${imports}\nexport function run(paths, context) {\n${body}\n}\n`);
  writeFileSync(join(dir, 'deployment.yml'), warmDeployment);
}
