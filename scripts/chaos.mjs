// `npm run chaos -- --minutes M --seed N [--mutation NAME]`: builds, then runs test/chaos/main.ts against the compiled program, or
// against a copy of it with a defect. Where this user may not mount, it runs in a user namespace of its own, where it may.
import { spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { buildProgram, bundle } from './bundle.mjs';
import { makeMutant, mutations } from './chaos-mutations.mjs';

/** As test/chaos/main.ts ends when something was not as it must be. */
const defectFound = 1;

const args = process.argv.slice(2);
const at = args.indexOf('--mutation');
const [, mutation = null] = at < 0 ? [] : args.splice(at, 2);
if (at >= 0 && !mutations.has(mutation)) {
  console.error(`usage: npm run chaos -- --mutation NAME\nnames: ${[...mutations.keys()].join(', ')}`);
  process.exit(2);
}
buildProgram();
const bundled = await bundle('test/chaos/main.ts');
const mutant = mutation === null ? null : await makeMutant(mutation, bundled);
const main = mutant?.main ?? bundled;
if (mutant) args.push('--stop-at-defect');

const namespace = ['--user', '--map-root-user', '--mount'];
const mayMount = process.getuid?.() === 0;
const mayUnshare = spawnSync('unshare', [...namespace, 'true']).status === 0;
const prefix = !mayMount && mayUnshare ? ['unshare', ...namespace] : [];
const [command, ...rest] = [...prefix, process.execPath, main, ...args];
// What a mutant has left behind goes with it.
const child = spawn(command, rest, {
  stdio: 'inherit',
  env: { ...process.env, ...(mutant && { TMPDIR: mutant.dir }) },
});
// Ctrl-C reaches the child as well, which ends in order.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => signal === 'SIGTERM' && child.kill(signal));
child.on('close', (code) => {
  if (!mutant) process.exit(code ?? 1);
  const isFound = code === defectFound;
  const isOver = isFound || code === 0;
  console.log(`mutation ${mutation} ${isFound ? 'was found' : isOver ? 'SURVIVED' : `could not be tried: ${code}`}`);
  if (!args.includes('--keep-logs')) rmSync(mutant.dir, { recursive: true, force: true });
  process.exit(isFound ? 0 : 1);
});
