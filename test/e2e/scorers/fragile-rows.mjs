/**
 * One row a file, half a second a mini-batch until the file FAST_WHEN exists. On a machine in whose environment CUDA_CACHE_PATH names a
 * file, the process ends in run(), as it does when a driver is broken.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const { FAST_WHEN, CUDA_CACHE_PATH = '' } = process.env;

export async function run(paths, { names }) {
  if (CUDA_CACHE_PATH !== '' && existsSync(CUDA_CACHE_PATH)) process.exit(7);
  if (!existsSync(FAST_WHEN)) await sleep(500);
  return names.map((file) => ({ file }));
}
