/**
 * One row a file, which depends on the file's name and bytes alone. The name says the rest: `…-w40-k3.txt` is worked at
 * for 40 ms times PACE, and its row is padded to 3 KiB. With CUSTOM=1 each file also gets a file of its own below
 * AZUREML_BI_OUTPUT_PATH, and a line in one that all mini-batches append to. A file that begins with `poison` fails.
 */
import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const { PACE = '0', CUSTOM = '0' } = process.env;

function keepCustom(outputDir, file, digest) {
  mkdirSync(join(outputDir, 'each'), { recursive: true });
  writeFileSync(join(outputDir, 'each', `${basename(file)}.sum`), `${digest}\n`.repeat(50));
  appendFileSync(join(outputDir, 'all.txt'), `${basename(file)} ${digest}\n`);
}

export async function run(files, { outputDir, names }) {
  const rows = [];
  for (const [index, file] of files.entries()) {
    const [, workMs, kibibytes] = /-w(\d+)-k(\d+)\.txt$/.exec(file).map(Number);
    const content = readFileSync(file);
    const digest = createHash('sha256').update(content).digest('hex');
    if (PACE !== '0') await sleep(workMs * Number(PACE));
    if (content.subarray(0, 6).toString() === 'poison') throw new Error(`${names[index]} is poison`);
    if (CUSTOM === '1') keepCustom(outputDir, file, digest);
    rows.push({ file: names[index], digest, pad: digest.slice(0, 16).repeat(kibibytes * 64) });
  }
  return rows;
}
