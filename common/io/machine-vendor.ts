/** Who made this machine: the cloud that it is of, where it is of one. */
import { readFileSync } from 'node:fs';
import { errnoOf } from './errno.ts';

/** Empty where the system does not tell. */
export function machineVendor(): string {
  try {
    return readFileSync('/sys/devices/virtual/dmi/id/sys_vendor', 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return '';
  }
}
