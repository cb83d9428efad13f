// `npm run fuzz -- --inputs N --seed S [--target NAME]`: builds test/fuzz and runs it in a process of its own.
// `npm run fuzz -- --mutations [--target NAME]`: proves the targets. test/fuzz/mutations.json has faults of what they read:
// `find`, which stands once in the file at `path`, becomes `put`. The program is built with one of them, and its target must find it.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { buildProgram, bundle, damage, root } from './bundle.mjs';

const entry = 'test/fuzz/main.ts';
const mutations = JSON.parse(readFileSync(`${root}test/fuzz/mutations.json`, 'utf8'));
/** Within which a fault is to be found, unless it says otherwise. */
const inputsMax = 4_000;

/** @returns whether the target has found the fault */
async function prove(mutation) {
  const { target, fault, inputs = inputsMax } = mutation;
  const outfile = await bundle(entry, { name: 'fuzz-mutant', plugins: [damage(mutation)] });
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
buildProgram();
const main = await bundle(entry);
// What ends the process ends the run, with the last target that was told.
const { status, signal } = spawnSync(process.execPath, [main, ...words], { stdio: 'inherit' });
if (signal !== null) console.error(`the fuzzed process was ended by ${signal}`);
process.exit(status ?? 1);
