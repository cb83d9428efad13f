// `npm run fuzz -- --inputs N --seed S [--target NAME]`: builds test/fuzz and runs it in a process of its own.
// `npm run fuzz -- --mutations [--target NAME]`: proves the targets. test/fuzz/mutations.json has faults of what they read:
// `find`, which stands once in the file at `path`, becomes `put`. The program is built with one of them, and its target must find it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const mutations = JSON.parse(readFileSync(`${root}test/fuzz/mutations.json`, 'utf8'));
/** Within which a fault is to be found, unless it says otherwise. */
const inputsMax = 4_000;

/** With one fault when a mutation is given. @returns the program, inside the package, so that its own files and node_modules are found */
async function bundle(name, mutation) {
  const outfile = `${root}dist/fuzz/${name}.mjs`;
  mkdirSync(`${root}dist/fuzz`, { recursive: true });
  await build({
    entryPoints: [`${root}test/fuzz/main.ts`],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
    plugins: mutation ? [faultOf(mutation)] : [],
  });
  return outfile;
}

function faultOf({ path, find, put }) {
  return {
    name: 'fault',
    setup: ({ onLoad }) =>
      onLoad({ filter: /\.ts$/ }, (args) => {
        if (args.path !== `${root}${path}`) return undefined;
        return { contents: readFileSync(args.path, 'utf8').replace(find, () => put), loader: 'ts' };
      }),
  };
}

/** @returns whether the target has found the fault */
async function prove(mutation) {
  const { target, fault, path, find, inputs = inputsMax } = mutation;
  const found = readFileSync(`${root}${path}`, 'utf8').split(find).length - 1;
  if (found !== 1) throw new Error(`${path} has ${found} times, not once: ${find}`);
  const outfile = await bundle('mutant', mutation);
  const args = [outfile, '--target', target, '--inputs', String(inputs), '--seed', '1', '--quiet'];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 120_000 });
  const first = /^DEFECT [^,]*, input (\d+): (.*)$/m.exec(stderr);
  const isFound = status === 1 && first !== null;
  const why = isFound
    ? `at input ${first[1]}: ${first[2].slice(0, 100)}`
    : `status ${status}: ${stderr.trim().slice(-200)}`;
  console.log(`${isFound ? 'found ' : 'MISSED'} ${target.padEnd(15)} ${fault}; ${why}`);
  return isFound;
}

const words = process.argv.slice(2);
if (words.includes('--mutations')) {
  const at = words.indexOf('--target');
  const chosen = mutations.filter(({ target }) => at < 0 || target === words[at + 1]);
  let missed = 0;
  for (const mutation of chosen) if (!(await prove(mutation))) missed += 1;
  console.log(`${chosen.length} faults, ${missed} missed`);
  process.exit(missed === 0 && chosen.length > 0 ? 0 : 1);
}
if (spawnSync(process.execPath, [`${root}scripts/build.mjs`], { stdio: 'inherit' }).status !== 0) process.exit(1);
// What ends the process ends the run, with the last target that was told.
const outfile = await bundle('main', null);
const { status, signal } = spawnSync(process.execPath, [outfile, ...words], { stdio: 'inherit' });
if (signal !== null) console.error(`the fuzzed process was ended by ${signal}`);
process.exit(status ?? 1);
