/**
 * One row a file: its name and its text. A mini-batch that begins with the file HELD is not scored before the file GATE exists. Each
 * begin and end of run() is a line in TRACE: begin|end, name of the first file, the host's working directory.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const { HELD, GATE, TRACE } = process.env;

export async function run(paths, { names }) {
  appendFileSync(TRACE, `begin ${names[0]} ${process.cwd()}\n`);
  while (names[0] === HELD && !existsSync(GATE)) await sleep(50);
  const rows = paths.map((path, index) => ({ file: names[index], text: readFileSync(path, 'utf8').trim() }));
  appendFileSync(TRACE, `end ${names[0]} ${process.cwd()}\n`);
  return rows;
}
