// Makes few large modules of the many small ones that a process of the program loads: finding and reading a thousand files
// was a third of the CPU time of a short `batchmill run`. The files that tsc has written stay, for whoever imports one of them.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What Node is started with: the program, the scoring host, and what runs in threads of their own. */
const entries = [
  'cli/main.ts',
  'coordinator/input/list-worker.ts',
  'coordinator/input/stat-worker.ts',
  'worker/scorers/node-host.ts',
  'worker/scorers/script-hooks.ts',
  'worker/staging/look-worker.ts',
];

/** These find files of their own beside them: binaries, WebAssembly. */
const external = ['esbuild', 'onnxruntime-node', 'opendal', 'parquet-wasm', 'sharp'];

/** For what packages in CommonJS expect to be there. */
const banner =
  "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);";

/** A program that was started before the build may still load a chunk of the build before. */
const chunkAgeMsMax = 24 * 3_600_000;

/** Bundles the program into `dist`, over the entries that tsc has written there. */
export async function bundleProgram({ dist = join(root, 'dist'), plugins = [] } = {}) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: entries,
    outbase: '.',
    outdir: dist,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external,
    banner: { js: banner },
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
    plugins,
  });
  for (const { entryPoint = '', exports } of Object.values(metafile.outputs)) {
    // The names of a module in CommonJS are known to who imports it statically alone.
    const isNameless = entryPoint.includes('node_modules/') && exports.join() === 'default';
    if (isNameless)
      throw new Error(`import(…) of ${entryPoint} has no names in a bundle: load a module that imports it`);
  }
  const chunks = join(dist, 'chunks');
  const made = new Set(Object.keys(metafile.outputs).map((path) => join(root, path)));
  for (const name of readdirSync(chunks)) {
    const path = join(chunks, name);
    if (!made.has(path) && Date.now() - statSync(path).mtimeMs > chunkAgeMsMax) rmSync(path);
  }
  writeFileSync(join(dist, 'LICENSES.txt'), licensesOf(Object.keys(metafile.inputs)));
}

/** Licenses of the packages whose code is in the bundle, which they ask to travel with it. */
function licensesOf(inputs) {
  const found = inputs.map((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  const packages = [...new Set(found.filter((dir) => dir !== undefined))].sort();
  return packages.map((dir) => `${licenseOf(join(root, dir))}\n`).join(`${'-'.repeat(80)}\n`);
}

function licenseOf(dir) {
  const { name, version, license } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const file = readdirSync(dir).find((one) => /^licen[cs]e/i.test(one));
  const text = file === undefined ? '' : `\n${readFileSync(join(dir, file), 'utf8')}`;
  return `${name} ${version}, ${license}\n${text}`;
}
