// `npm run fuzz -- --inputs N --seed S [--target NAME]`: builds test/fuzz and runs it in a process of its own.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
if (spawnSync(process.execPath, [`${root}scripts/build.mjs`], { stdio: 'inherit' }).status !== 0) process.exit(1);

// Inside the package, so that its own files and node_modules are found from there.
const outfile = `${root}dist/fuzz/main.mjs`;
mkdirSync(`${root}dist/fuzz`, { recursive: true });
await build({
  entryPoints: [`${root}test/fuzz/main.ts`],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  logLevel: 'warning',
});
// What ends the process ends the run, with the last target that was told.
const { status, signal } = spawnSync(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit' });
if (signal !== null) console.error(`the fuzzed process was ended by ${signal}`);
process.exit(status ?? 1);
