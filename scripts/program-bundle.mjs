// Makes few large modules of the many small ones that a process of the program loads: finding and reading a thousand files
// was a third of the CPU time of a short `batchmill run`. They are scripts in CommonJS, whose code V8 can keep (see
// common/io/start-program.ts). The files that tsc has written stay, for whoever imports one of them.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What Node is started with: the program, the scoring host, and what runs in threads of their own. */
const entries = [
  'cli/main',
  'coordinator/input/list-worker',
  'coordinator/input/stat-worker',
  'worker/scorers/node-host',
  'worker/staging/look-worker',
];

/** What Node's own loader loads, as a module with exports. */
const hooks = 'worker/scorers/script-hooks';

/** These find files of their own beside them: binaries, WebAssembly. */
const external = ['esbuild', 'onnxruntime-node', 'opendal', 'parquet-wasm', 'sharp'];

/** A program that was started before the build may still load a module of the build before. */
const moduleAgeMsMax = 24 * 3_600_000;

const common = {
  absWorkingDir: root,
  outbase: '.',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  external,
  legalComments: 'none',
  logLevel: 'warning',
};

/** Bundles the program into `dist`: its modules below `program`, and what starts them over the entries that tsc has written. */
export async function bundleProgram({ dist = join(root, 'dist'), plugins = [] } = {}) {
  const program = join(dist, 'program');
  const { metafile, outputFiles } = await build({
    ...common,
    entryPoints: entries.map((entry) => `${entry}.ts`),
    outdir: program,
    entryNames: '[dir]/[name]-[hash]',
    chunkNames: 'chunks/[name]-[hash]',
    outExtension: { '.js': '.cjs' },
    splitting: true,
    metafile: true,
    write: false,
    plugins,
  });
  for (const { entryPoint = '', exports } of Object.values(metafile.outputs)) {
    // The names of a module in CommonJS are known to who imports it statically alone.
    const isNameless = entryPoint.includes('node_modules/') && exports.join() === 'default';
    if (isNameless)
      throw new Error(`import(…) of ${entryPoint} has no names in a bundle: load a module that imports it`);
  }
  await Promise.all(outputFiles.map(async ({ path, text }) => writeIn(path, await scriptOf(text))));
  await writeStarts(dist, startsOf(metafile, dist));
  await build({ ...common, entryPoints: [`${hooks}.ts`], outdir: dist, plugins });
  removeOld(program, new Set(outputFiles.map(({ path }) => path)));
  writeFileSync(join(dist, 'LICENSES.txt'), licensesOf(Object.keys(metafile.inputs)));
}

/** A module as the script that `startProgram` calls. */
async function scriptOf(text) {
  const { code } = await transform(withPlainExports(text.replace(/^#!.*/, '')), {
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    define: { 'import.meta.url': 'importMetaUrl' },
  });
  // A script has no import() of its own. esbuild writes "names" so, and a name that is reckoned as (0, …); comments do not.
  return code
    .replace(/(?<![.\w])import\(("\.\.?\/[^"]+")\)/g, 'Promise.resolve().then(() => require($1))')
    .replace(/(?<![.\w])import\((?=["(])/g, 'importOutside(');
}

/**
 * What a module exports as the properties of one object, at its end: esbuild would make a getter of each, which is called whenever a
 * function of another module is, a twentieth of all that a busy coordinator does. What is assigned to later keeps its getter.
 */
function withPlainExports(text) {
  const [statement, list] = /^export \{([^{}]*)\};\n*$/m.exec(text) ?? [];
  if (statement === undefined) return text;
  const body = text.replace(statement, () => '');
  const pairs = list.split(',').map((pair) => pair.trim().split(' as '));
  const properties = pairs
    .filter(([own]) => own !== '')
    .map(([own, name = own]) =>
      assignmentsOf(own, body) < 2 ? `${name}: ${own}` : `get ${name}() { return ${own}; }`,
    );
  // Whoever imports a default by name is told that this is what it looks like.
  if (pairs.some(([own, name = own]) => name === 'default')) properties.push('__esModule: true');
  return `${body}\nmodule.exports = { ${properties.join(', ')} };\n`;
}

/** Its first value is one of them. */
function assignmentsOf(name, text) {
  const escaped = name.replaceAll('$', '\\$');
  return [...text.matchAll(new RegExp(`(?<![\\w$.])${escaped}\\s*(?:[-+*/|&?]*=(?![=>])|\\+\\+|--)`, 'g'))].length;
}

/** By entry: where its module lies, as seen from where it is started. */
function startsOf({ outputs }, dist) {
  const starts = new Map();
  for (const [path, { entryPoint = '' }] of Object.entries(outputs)) {
    const entry = entryPoint.replace(/\.ts$/, '');
    const up = '../'.repeat(entry.split('/').length - 1);
    if (entries.includes(entry)) starts.set(entry, up + join(root, path).slice(dist.length + 1));
  }
  return starts;
}

async function writeStarts(dist, starts) {
  for (const [entry, module] of starts) {
    const contents = `import { startProgram } from './common/io/start-program.ts';
startProgram(import.meta.url, '${module}');`;
    const stdin = { contents, resolveDir: root, sourcefile: `${entry}.ts` };
    const banner = { js: '#!/usr/bin/env node' };
    const { outputFiles } = await build({ ...common, stdin, banner, write: false });
    writeIn(join(dist, `${entry}.js`), outputFiles[0].text);
  }
}

function writeIn(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** Modules of builds long ago, and code that was made of them or by another V8. */
function removeOld(program, made) {
  for (const name of readdirSync(program, { recursive: true })) {
    const path = join(program, name);
    const isOld = existsSync(path) && Date.now() - statSync(path).mtimeMs > moduleAgeMsMax;
    if (isOld && statSync(path).isFile() && !made.has(path)) rmSync(path);
  }
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
