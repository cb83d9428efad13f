/** Lists of inputs in the forms that we read ourselves; Parquet is another's, and decoded in a thread with a time limit. */
import { writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { listedPaths } from '../../coordinator/input/listed-paths.ts';
import { FuzzDefect, nothingOpen, outcomeOf, same, type FuzzTarget } from './target.ts';

const base = '/data/in';
const paths = ['a.txt', 'raw/b.txt', `${base}/raw/c d.txt`, './é.txt', `file://${base}/raw/e%20f.txt`];

const valid: readonly Buffer[] = [
  Buffer.from(`# list\n${paths.join('\r\n')}\n`),
  Buffer.from(`id,path\n${paths.map((path, id) => `${id},"${path}"\n`).join('')}`),
  Buffer.from(paths.map((path, id) => `${JSON.stringify({ id, path })}\n`).join('')),
];

/** By what a form begins with; most of it stays as it is when something is changed. */
function endingOf(input: Uint8Array): string {
  const start = Buffer.from(input.subarray(0, 4)).toString('latin1');
  if (start.startsWith('{')) return '.jsonl';
  return start.startsWith('id') ? '.csv' : '.txt';
}

/** What is scored must lie in the input folder, and once. */
function check(found: readonly string[]): void {
  const odd = found.find((path) => path === '' || path.includes('\0') || posix.join(base, path) !== `${base}/${path}`);
  if (odd !== undefined) throw new FuzzDefect(`accepted, though it is no path below the input: ${JSON.stringify(odd)}`);
  if (new Set(found).size !== found.length) throw new FuzzDefect('accepted, though a path stands there twice');
}

export const inputLists: FuzzTarget = {
  name: 'input-lists',
  weight: 0.5,
  open: (dir) =>
    Promise.resolve({
      samples: {
        valid,
        words: [
          '../',
          './',
          '/',
          '//',
          '..',
          '\n',
          '\r',
          '"',
          ',',
          '#',
          '\0',
          '\ufeff',
          base,
          'file://',
          's3://bucket/',
          '%2e%2e%2f',
          '%00',
          'a.txt',
          'path',
          '\\ud800',
        ],
      },
      run: (input) =>
        outcomeOf(async () => {
          const path = join(dir, `list${endingOf(input)}`);
          writeFileSync(path, input);
          const read = async (): Promise<readonly string[]> => {
            const found: string[] = [];
            for await (const some of listedPaths(base, { path, column: 'path', identity: null })) found.push(...some);
            return found;
          };
          const found = await read();
          check(found);
          same(await read(), found, 'the same list, read again');
        }),
      close: nothingOpen,
    }),
};
