// `npm run chaos -- --minutes M --seed N`: builds, then runs test/chaos/main.ts against the compiled program. Where this user may
// not mount, it runs in a user namespace of its own, where it may.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
if (spawnSync(process.execPath, [`${root}scripts/build.mjs`], { stdio: 'inherit' }).status !== 0) process.exit(1);

// Inside the package, so that its own files and node_modules are found from there.
const outfile = `${root}dist/chaos/main.mjs`;
mkdirSync(`${root}dist/chaos`, { recursive: true });
await build({
  entryPoints: [`${root}test/chaos/main.ts`],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  logLevel: 'warning',
});

const namespace = ['--user', '--map-root-user', '--mount'];
const mayMount = process.getuid?.() === 0;
const mayUnshare = spawnSync('unshare', [...namespace, 'true']).status === 0;
const prefix = !mayMount && mayUnshare ? ['unshare', ...namespace] : [];
const [command, ...args] = [...prefix, process.execPath, outfile, ...process.argv.slice(2)];
const child = spawn(command, args, { stdio: 'inherit' });
// Ctrl-C reaches the child as well, which ends in order.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => signal === 'SIGTERM' && child.kill(signal));
child.on('close', (code) => process.exit(code ?? 1));
