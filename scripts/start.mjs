// `npm start`: from a fresh clone to a scored folder. Installs and builds what is not there, scores examples/digits with a
// coordinator and two worker nodes, compares the answers with the labels, and says how two machines do the same.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preparePackages } from './packages.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const example = 'examples/digits';
const output = 'out/digits';
const nodeOldest = [20, 19];

/** Ends the run: what is missing, and what to do. */
function refuse(message) {
  console.error(`npm start: ${message}`);
  process.exit(1);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > nodeOldest[0] || (major === nodeOldest[0] && minor >= nodeOldest[1])) return;
  refuse(
    `Batchmill needs Node ${nodeOldest.join('.')} or later, this is ${process.versions.node}. Install a newer one.`,
  );
}

function build() {
  const built = spawnSync(process.execPath, [join(root, 'scripts', 'build.mjs')], { cwd: root, stdio: 'inherit' });
  if (built.status !== 0) refuse('the build failed; the errors above are the compiler’s.');
}

/** Runs the program as a user would, with its own messages and progress. */
function batchmill(args) {
  console.log(`$ npx batchmill ${args.join(' ')}`);
  const main = join(root, 'dist', 'cli', 'main.js');
  const done = spawnSync(process.execPath, [main, ...args, '-o', 'table'], { cwd: root, stdio: 'inherit' });
  if (done.status !== 0) refuse(`batchmill ended with ${done.status ?? done.signal}; its message is above.`);
}

async function readTable(path) {
  const { parse } = await import('csv-parse/sync');
  return parse(readFileSync(join(root, path)), { columns: true });
}

/** The files whose label is not the one of labels.csv, and how many there are in all. */
async function compare() {
  const truth = new Map((await readTable(`${example}/labels.csv`)).map(({ file, label }) => [file, label]));
  const rows = await readTable(`${output}/predictions.csv`);
  const unknown = rows.find(({ file }) => !truth.has(file));
  if (unknown || rows.length !== truth.size) {
    refuse(`${output}/predictions.csv has ${rows.length} rows, wanted one for each of the ${truth.size} labels.`);
  }
  const wrong = rows
    .map(({ file, label }) => ({ file, digit: truth.get(file), taken: label }))
    .filter(({ digit, taken }) => digit !== taken);
  return { total: rows.length, wrong };
}

/** `node-1 260 files, node-2 240 files`, as the manifest has it. */
function sharesOfNodes() {
  const lines = readFileSync(join(root, output, '_manifest', 'files-00000.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  const byNode = groupBy(lines, (line) => JSON.parse(line).node);
  return [...byNode]
    .sort()
    .map(([node, files]) => `${node} ${files.length} files`)
    .join(', ');
}

function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** How well it did, and at which digit it did worst. */
function tellAccuracy({ total, wrong }) {
  const right = total - wrong.length;
  console.log(
    `\naccuracy    ${right} of ${total} right (${((100 * right) / total).toFixed(1)} %), by ${example}/labels.csv`,
  );
  if (wrong.length === 0) return;
  const byDigit = [...groupBy(wrong, ({ digit }) => digit)].sort(([a, x], [b, y]) => y.length - x.length || a - b);
  const [digit, misses] = byDigit[0];
  console.log(`worst digit ${digit}, misread ${times(misses.length)}:`);
  for (const [taken, files] of groupBy(misses, (miss) => miss.taken)) {
    console.log(`            taken for a ${taken} ${times(files.length)}: ${files.map(({ file }) => file).join(', ')}`);
  }
}

function times(count) {
  return [undefined, 'once', 'twice'][count] ?? `${count} times`;
}

function tellNext() {
  const coordinator = hostname();
  console.log(`scored by   ${sharesOfNodes()}
results     ${output}/predictions.csv (one row a file, in input order) and ${output}/_manifest.json

The same on two machines, each with a clone in which \`npm ci && npm run build\` has run:

  # on ${coordinator}, which keeps the jobs; it prints the line to join with
  npx batchmill coordinator start --listen 0.0.0.0:7077

  # on the other machine: that line
  npx batchmill worker join ${coordinator}:7077 --token TOKEN --ca-fingerprint FINGERPRINT

  # on ${coordinator}, in a second terminal
  npx batchmill job submit ${example}/deployment.yml --input ${example}/inputs --output ${output} --overwrite --stream

README.md says more.`);
}

checkNode();
try {
  preparePackages(root, (text) => console.log(text));
} catch (error) {
  refuse(error.message);
}
build();
batchmill([
  'run',
  `${example}/deployment.yml`,
  ...['--input', `${example}/inputs`],
  ...['--output', output, '--overwrite'],
  ...['--nodes', '2'],
]);
tellAccuracy(await compare());
tellNext();
