/**
 * One row a file: its name and a digest of its bytes, padded to PAD_CHARS characters. What it does besides is chosen by variables that
 * change no row:
 *   PAUSE_MS   how long run() takes; not at all once the file FAST_WHEN exists
 *   TRACE      a file that gets a line at each begin and end of run(): begin|end, name of the first file, folder read from, folder of
 *              the host, its process, milliseconds since 1970
 */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const { PAD_CHARS = '16', PAUSE_MS = '0', FAST_WHEN = '', TRACE = '' } = process.env;

function trace(what, context, paths) {
  if (TRACE)
    appendFileSync(
      TRACE,
      `${what} ${context.names[0]} ${dirname(paths[0])} ${process.cwd()} ${process.pid} ${Date.now()}\n`,
    );
}

export async function run(paths, context) {
  trace('begin', context, paths);
  if (PAUSE_MS !== '0' && !existsSync(FAST_WHEN)) await sleep(Number(PAUSE_MS));
  const rows = paths.map((path, index) => ({
    file: context.names[index],
    digest: createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16).padEnd(Number(PAD_CHARS), '=~'),
  }));
  trace('end', context, paths);
  return rows;
}
