/** Which questions each driver's program is asked. */
import { unreachable } from '../../common/core/invariant.ts';
import { rocmUsage } from './amd.ts';
import { amdSmiUsage } from './amd-smi.ts';
import type { Device, DriverProgram } from './device.ts';
import type { UsageQuery } from './device-usage.ts';
import { nvidiaOnce, nvidiaUsage } from './nvidia-usage.ts';

/** Asked all the time. */
export function usageQuery(program: DriverProgram, devices: readonly Device[]): UsageQuery {
  return program === 'nvidia-smi' ? nvidiaUsage(devices) : usageOnce(program);
}

/** Asked once, when somebody wants to know it all. */
export function usageOnce(program: DriverProgram): UsageQuery {
  switch (program) {
    case 'nvidia-smi':
      return nvidiaOnce;
    case 'amd-smi':
      return amdSmiUsage;
    case 'rocm-smi':
      return rocmUsage;
    default:
      return unreachable(program);
  }
}
