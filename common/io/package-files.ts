/** Where this package's own files lie, whether it runs compiled from dist/ or from its sources. */
import { existsSync } from 'node:fs';
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
