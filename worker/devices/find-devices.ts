/** Asks the drivers of this machine which GPUs there are, and which of them the node may use. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from '../../common/config/process-settings.ts';
import { amdDevices, amdQuery } from './amd.ts';
import { noDevices, type FoundDevices } from './device.ts';
import { nvidiaDevices, nvidiaListing, nvidiaQuery } from './nvidia.ts';

const listingTimeoutMs = 20_000;

/** A node without a driver has none. What the node's own variables hide (Slurm sets them for its jobs) is not there. */
export async function findDevices(environment: Environment): Promise<FoundDevices> {
  const ask = (program: string, args: readonly string[]): Promise<string> => outputOf(program, args, environment);
  if (isOnPath('nvidia-smi', environment)) {
    const [listing, query] = await Promise.all([ask('nvidia-smi', nvidiaListing), ask('nvidia-smi', nvidiaQuery)]);
    const variable = 'CUDA_VISIBLE_DEVICES';
    const devices = nvidiaDevices(listing, query, environment[variable]);
    if (devices.length > 0 || !isOnPath('rocm-smi', environment)) return { variable, devices };
  }
  if (!isOnPath('rocm-smi', environment)) return noDevices;
  const variable = 'ROCR_VISIBLE_DEVICES';
  return { variable, devices: amdDevices(await ask('rocm-smi', amdQuery), environment[variable]) };
}

/** Empty where the program finds no driver. */
async function outputOf(program: string, args: readonly string[], env: Environment): Promise<string> {
  try {
    return (await promisify(execFile)(program, [...args], { timeout: listingTimeoutMs, env: { ...env } })).stdout;
  } catch {
    return '';
  }
}

/** Starting a program that is not there costs a fork of this process. */
function isOnPath(program: string, { PATH = '' }: Environment): boolean {
  return PATH.split(delimiter).some((dir) => dir !== '' && existsSync(join(dir, program)));
}
