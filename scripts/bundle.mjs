// What the scripts share that run TypeScript of test/ and bench/ in plain Node.
import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync } from 'node:fs';
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
 * package, so that its own files and node_modules are found from there. Two bundles of one entry have a `name` each. It is whole
 * whenever it is there, also for another process that makes the same.
 */
export async function bundle(entry, { plugins = [], name = entry.replace(/\.ts$/, '') } = {}) {
  const outfile = `${root}dist/bundles/${name}.mjs`;
  const unfinished = `${outfile}.${process.pid}.tmp`;
  await build({
    entryPoints: [root + entry],
    outfile: unfinished,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
    plugins,
  });
  renameSync(unfinished, outfile);
  return outfile;
}

/**
 * A plugin that damages the program: `find`, which must stand once in the file at `path`, becomes `put`. What checks the program
 * must notice.
 */
export function damage({ path, find, put }) {
  const source = readFileSync(root + path, 'utf8');
  const times = source.split(find).length - 1;
  if (times !== 1) throw new Error(`${path} has ${times} times, not once: ${find}`);
  return {
    name: 'damage',
    setup: ({ onLoad }) =>
      onLoad({ filter: /\.ts$/ }, (args) =>
        args.path === root + path ? { contents: source.replace(find, () => put), loader: 'ts' } : undefined,
      ),
  };
}
