// `npm run test:standby -- [--times N] [--only TEXT]`: builds, then runs test/standby/main.ts against the compiled program.
import { spawn } from 'node:child_process';
import { buildProgram, bundle } from './bundle.mjs';

if (!process.argv.includes('--no-build')) buildProgram();
const args = process.argv.slice(2).filter((arg) => arg !== '--no-build');
const child = spawn(process.execPath, [await bundle('test/standby/main.ts'), ...args], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => signal === 'SIGTERM' && child.kill(signal));
child.on('close', (code) => process.exit(code ?? 1));
