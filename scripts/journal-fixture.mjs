// `node scripts/journal-fixture.mjs DIR`: writes a small journal of the present format and what a replay of it gives.
// Run it once before the format version changes: test/fixtures/journal has one folder per version.
import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const [dir] = process.argv.slice(2);
if (dir === undefined) {
  console.error('usage: node scripts/journal-fixture.mjs DIR');
  process.exit(2);
}
// Inside the package, so that node_modules is found from there.
const outDir = mkdtempSync(join(root, 'dist', 'fixture-'));
try {
  const outfile = join(outDir, 'make.mjs');
  const entryPoints = [`${root}test/helpers/make-journal.ts`];
  await build({ entryPoints, outfile, bundle: true, platform: 'node', format: 'esm', packages: 'external' });
  const { makeJournal } = await import(pathToFileURL(outfile).href);
  await makeJournal(resolve(dir));
} finally {
  rmSync(outDir, { recursive: true, force: true });
}
