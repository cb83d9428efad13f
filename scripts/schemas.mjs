// Writes schemas/*.schema.json from the shapes in common/config. `--check` only says which are stale.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const source = fileURLToPath(new URL('../common/config/json-schema.ts', import.meta.url));
const folder = new URL('../schemas/', import.meta.url);
// Inside of the package, so that what it imports is found.
const bundle = new URL(`../node_modules/.cache/schemas-${process.pid}.mjs`, import.meta.url);

await build({
  entryPoints: [source],
  outfile: fileURLToPath(bundle),
  bundle: true,
  packages: 'external',
  format: 'esm',
  platform: 'node',
});
const { jsonSchemas, formatJsonSchema } = await import(bundle.href).finally(() => rmSync(bundle));

mkdirSync(folder, { recursive: true });
for (const [kind, schema] of Object.entries(jsonSchemas())) {
  const file = new URL(`${kind}.schema.json`, folder);
  const text = formatJsonSchema(schema);
  if (!process.argv.includes('--check')) writeFileSync(file, text);
  else if (readFileSync(file, 'utf8') !== text) {
    console.error(`${fileURLToPath(file)} is stale: run node scripts/schemas.mjs`);
    process.exitCode = 1;
  }
}
