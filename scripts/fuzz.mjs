// `npm run fuzz -- --inputs N --seed S [--target NAME]`: builds test/fuzz and runs it in a process of its own.
import { spawnSync } from 'node:child_process';
import { buildProgram, bundle } from './bundle.mjs';

buildProgram();
const main = await bundle('test/fuzz/main.ts');
// What ends the process ends the run, with the last target that was told.
const { status, signal } = spawnSync(process.execPath, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
if (signal !== null) console.error(`the fuzzed process was ended by ${signal}`);
process.exit(status ?? 1);
