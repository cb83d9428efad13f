// A row with name and size of each file; a file that the list in POISON names is refused.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';

export function run(files) {
  const list = process.env.POISON;
  const poison = existsSync(list) ? readFileSync(list, 'utf8').split('\n') : [];
  return files.map((file) => {
    if (poison.includes(basename(file))) throw new Error(`${basename(file)} is poison`);
    return { file: basename(file), bytes: statSync(file).size };
  });
}
