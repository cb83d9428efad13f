// `npm run sim -- …`: bundles test/sim/main.ts, which says what it takes, and runs it. `--mutations [NAME]` damages the
// program in each of the ways of test/sim/mutations.ts, one at a time, and tells after how many seeds the simulator noticed;
// with `--check` it only looks whether the text that each changes is there.
import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { bundle, damage } from './bundle.mjs';

const args = process.argv.slice(2);
const at = args.indexOf('--mutations');
if (at < 0) {
  const { status, signal } = spawnSync(process.execPath, [await bundle('test/sim/main.ts'), ...args], {
    stdio: 'inherit',
  });
  if (signal !== null) console.error(`the simulator was ended by ${signal}`);
  process.exit(status ?? 1);
}

const isCheck = args.includes('--check');
const wanted = args.slice(at + 1).filter((name) => name !== '--check');
const { mutations, seedsMax } = await import(pathToFileURL(await bundle('test/sim/mutations.ts')).href);
const unknown = wanted.filter((name) => !mutations.some((mutation) => mutation.name === name));
if (unknown.length > 0) {
  console.error(
    `no mutation is called ${unknown.join(', ')}; there are ${mutations.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
let missed = 0;
for (const mutation of mutations) {
  if (wanted.length > 0 && !wanted.includes(mutation.name)) continue;
  const plugins = [damage(mutation)];
  if (isCheck) continue;
  const outfile = await bundle('test/sim/main.ts', { name: `sim-${mutation.name}`, plugins });
  const range = ['--seed', '1', '--seeds', String(seedsMax), '--quick', '--once', '--json'];
  const { stdout } = spawnSync(process.execPath, [outfile, ...range], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [found] = JSON.parse(stdout).violations;
  if (!found) missed += 1;
  const how = found ? `seed ${found.seed}: ${found.texts[0].split('\n')[0].slice(0, 120)}` : `NOT FOUND in ${seedsMax}`;
  console.log(`${mutation.name} (${mutation.what}): ${how}`);
}
console.log(`${missed} mutations not found`);
process.exit(missed > 0 ? 1 : 0);
