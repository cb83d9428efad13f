// Writes schemas/*.schema.json from the shapes that the program reads with. `--check` only says which are stale.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../', import.meta.url));
const folder = new URL('../schemas/', import.meta.url);
// Inside of the package, so that what it imports is found.
const bundle = new URL(`../node_modules/.cache/schemas-${process.pid}.mjs`, import.meta.url);

await build({
  stdin: {
    contents: `
      export { jsonSchemas, formatJsonSchema } from './common/config/json-schema.ts';
      export { manifestJsonSchemas } from './coordinator/output/manifest-schema.ts';`,
    resolveDir: root,
  },
  outfile: fileURLToPath(bundle),
  bundle: true,
  packages: 'external',
  format: 'esm',
  platform: 'node',
});
const { jsonSchemas, manifestJsonSchemas, formatJsonSchema } = await import(bundle.href).finally(() => rmSync(bundle));

mkdirSync(folder, { recursive: true });
for (const [kind, schema] of Object.entries({ ...jsonSchemas(), ...manifestJsonSchemas() })) {
  const file = new URL(`${kind}.schema.json`, folder);
  const text = formatJsonSchema(schema);
  if (!process.argv.includes('--check')) writeFileSync(file, text);
  else if (readFileSync(file, 'utf8') !== text) {
    console.error(`${fileURLToPath(file)} is stale: run node scripts/schemas.mjs`);
    process.exitCode = 1;
  }
}
