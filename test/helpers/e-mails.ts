/** Real files of uneven size: 6,046 e-mails, most of 3.5 KB, the largest of 301 KB. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../common/io/package-files.ts';

export interface Email {
  readonly path: string;
  /** Below the folder of all. */
  readonly name: string;
  readonly bytes: number;
}

/** In the order in which a job has them. */
export function emails(): readonly Email[] {
  const folder = join(packageRoot, 'node_modules', '@stdlib', 'datasets-spam-assassin', 'data');
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => readdirSync(join(folder, name)).map((file) => `${name}/${file}`))
    .filter((name) => name.endsWith('.txt'))
    .sort();
  return names.map((name) => ({ name, path: join(folder, name), bytes: statSync(join(folder, name)).size }));
}
