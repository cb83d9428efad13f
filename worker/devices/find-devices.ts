/** Asks the drivers of this machine which GPUs there are, and which of them the node may use. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from '../../common/config/process-settings.ts';
import { amdDevices, amdQuery } from './amd.ts';
import { amdSmiDevices, amdSmiQuery } from './amd-smi.ts';
import { noDevices, type DriverProgram, type FoundDevices } from './device.ts';
import { nvidiaDevices, nvidiaListing, nvidiaQuery } from './nvidia.ts';

const listingTimeoutMs = 20_000;

/** A node without a driver has none. What the node's own variables hide (Slurm sets them for its jobs) is not there. */
export async function findDevices(environment: Environment): Promise<FoundDevices> {
  const ask = (program: string, args: readonly string[]): Promise<string> => outputOf(program, args, environment);
  const asked: FoundDevices[] = [];
  for (const [program, find] of programs) {
    if (!isOnPath(program, environment)) continue;
    const found = await find(ask, environment);
    if (found.devices.length > 0) return found;
    asked.push(found);
  }
  return asked[0] ?? noDevices;
}

type Ask = (program: DriverProgram, args: readonly string[]) => Promise<string>;

/** One of AMD that lists none leaves it to the other: which one works is a matter of the release. */
const programs: readonly (readonly [DriverProgram, (ask: Ask, environment: Environment) => Promise<FoundDevices>])[] = [
  ['nvidia-smi', askNvidia],
  ['amd-smi', (ask, environment) => askAmd('amd-smi', amdSmiQuery, amdSmiDevices, ask, environment)],
  ['rocm-smi', (ask, environment) => askAmd('rocm-smi', amdQuery, amdDevices, ask, environment)],
];

async function askNvidia(ask: Ask, environment: Environment): Promise<FoundDevices> {
  const program = 'nvidia-smi';
  const variable = 'CUDA_VISIBLE_DEVICES';
  const [listing, query] = await Promise.all([ask(program, nvidiaListing), ask(program, nvidiaQuery)]);
  return { program, variable, devices: nvidiaDevices(listing, query, environment[variable]) };
}

async function askAmd(
  program: DriverProgram,
  query: readonly string[],
  read: typeof amdDevices,
  ask: Ask,
  environment: Environment,
): Promise<FoundDevices> {
  const variable = 'ROCR_VISIBLE_DEVICES';
  return { program, variable, devices: read(await ask(program, query), environment[variable]) };
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
