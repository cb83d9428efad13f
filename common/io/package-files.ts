/** Where this package's own files lie, whether it runs compiled from dist/ or from its sources. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}

/** The folder of package.json, absolute. */
export const packageRoot: string = findRoot();

/** A file that ships beside the code, such as `proto/batchmill/v1/cluster.proto`. */
export function packageFile(...parts: readonly string[]): string {
  return join(packageRoot, ...parts);
}

/** The compiled form of a source file, for child processes: they run plain Node, also under the test runner. */
export function compiledFile(...parts: readonly string[]): string {
  return join(packageRoot, 'dist', ...parts);
}

/** Release of this package, as both sides tell each other: `0.1.0`. */
export function packageRelease(): string {
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { readonly version: string };
  return version;
}

/** Versions of Node that this package is made for, as `engines` has it: `>=20.19`. */
export function packageRuntime(): string {
  const manifest = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    readonly engines: { readonly node: string };
  };
  return manifest.engines.node;
}
