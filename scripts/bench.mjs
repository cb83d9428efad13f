// `npm run bench NAME`: runs bench/NAME.ts against the compiled program. Without a name: says which there are.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { buildProgram, bundle, root } from './bundle.mjs';

const names = readdirSync(`${root}bench`)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.slice(0, -3));
const [name, ...args] = process.argv.slice(2);
if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME\nnames: ${names.join(', ')}`);
  process.exit(2);
}
buildProgram();
const main = await bundle(`bench/${name}.ts`);
// Programs that these start beside the compiled one.
const more = { peers: 'bench/harness/client.ts', rooms: 'cli/main.ts', flame: 'cli/main.ts' }[name];
if (more !== undefined) await bundle(more);
process.exit(spawnSync(process.execPath, [main, ...args], { stdio: 'inherit' }).status ?? 1);
