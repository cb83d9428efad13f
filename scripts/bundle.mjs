// What the scripts share that run TypeScript of test/ and bench/ in plain Node.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** The folder of package.json, with a slash at its end. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** Compiles the program; a failure has said what it is, and ends this process. */
export function buildProgram() {
  if (spawnSync(process.execPath, [`${root}scripts/build.mjs`], { stdio: 'inherit' }).status !== 0) process.exit(1);
}

/**
 * Bundles `entry`, a TypeScript file of this package such as `test/chaos/main.ts`, and returns the bundle's path. It lies inside the
 * package, so that its own files and node_modules are found from there.
 */
export async function bundle(entry, { plugins = [] } = {}) {
  const outfile = `${root}dist/bundles/${entry.replace(/\.ts$/, '.mjs')}`;
  await build({
    entryPoints: [root + entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
    plugins,
  });
  return outfile;
}
