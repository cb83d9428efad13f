/**
 * Module hooks for scoring scripts; run by Node on a thread of their own (module.register). They let a script be written in
 * TypeScript and import what Batchmill brings. A code folder is often read-only and has no node_modules, so nothing may be
 * written beside the script, and a bundle elsewhere would lose the script's own import.meta.url, stack and neighbours.
 */
import { readFile } from 'node:fs/promises';
import type { LoadHook, ResolveHook } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { packageFile } from '../../common/io/package-files.ts';
import { typesOnlyMessage } from './types-only.ts';

const ownUrl = pathToFileURL(packageFile('package.json')).href;
const isTypeScript = (url: string | undefined): boolean => /^file:.*\.m?ts$/.test(url ?? '');
const isRelative = (specifier: string): boolean =>
  /^\.{0,2}\//.test(specifier) || specifier === '.' || specifier === '..';

/** Node's own resolution from the script's folder first; what it does not find is looked for in a second place. */
export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === 'batchmill') throw new Error(typesOnlyMessage);
  try {
    return await next(specifier, context);
  } catch (error) {
    for (const [name, parentURL] of secondPlaces(specifier, context.parentURL)) {
      const found = await Promise.resolve(next(name, { ...context, parentURL })).catch(() => undefined);
      if (found) return found;
    }
    throw error;
  }
};

/**
 * Packages are looked for beside Batchmill itself. TypeScript imports its neighbours as `./x`, or as `./x.js` where
 * `x.ts` is meant.
 */
function secondPlaces(specifier: string, parentURL: string | undefined): [string, string | undefined][] {
  if (!isRelative(specifier)) return specifier.includes(':') ? [] : [[specifier, ownUrl]];
  if (!isTypeScript(parentURL)) return [];
  const names = [`${specifier}.ts`, specifier.replace(/\.(m?)js$/, '.$1ts'), `${specifier}/index.ts`];
  return names.map((name) => [name, parentURL]);
}

/** Files that are in esbuild's hands. */
let transforms = 0;

/** Takes the types out of TypeScript and nothing else; a source map keeps stacks on the lines of the source. */
export const load: LoadHook = async (url, context, next) => {
  if (!isTypeScript(url)) return next(url, context);
  const path = fileURLToPath(url);
  const source = await readFile(path, 'utf8');
  // Here and not above: a script in JavaScript does without it. Not transformSync: it waits for a thread of its own, which
  // in turn waits for these hooks.
  const { stop, transform } = await import('esbuild');
  transforms += 1;
  try {
    const { code } = await transform(source, {
      loader: 'ts',
      format: 'esm',
      target: `node${process.versions.node}`,
      sourcemap: 'inline',
      sourcefile: path,
      logLevel: 'silent',
    });
    return { format: 'module', source: code, shortCircuit: true };
  } finally {
    // A script is loaded once; esbuild's process need not stay beside every scoring host.
    transforms -= 1;
    if (transforms === 0) await stop();
  }
};
