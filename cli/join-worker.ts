/** A worker node of this machine: its settings, with this process's own log, clock and environment. */
import { formatAddress } from '../common/config/address.ts';
import { commandEnvironment, type WorkerSettings } from '../common/config/process-settings.ts';
import { systemClock } from '../common/io/clock.ts';
import { stderrLog } from '../common/io/log.ts';
import { systemRandom } from '../common/io/random.ts';
import { deviceLabels } from '../worker/devices/device-labels.ts';
import { findDevices } from '../worker/devices/find-devices.ts';
import { startWorker } from '../worker/worker.ts';
import type { WorkerProcess } from './processes.ts';

/** Has joined when it resolves. @throws COORDINATOR_UNREACHABLE, TOKEN_INVALID, PROTOCOL_MISMATCH, NAME_TAKEN */
export async function joinWorker(settings: WorkerSettings): Promise<WorkerProcess> {
  const { coordinators, fingerprint, isInsecure, ...rest } = settings;
  const [address, ...others] = coordinators.map(formatAddress);
  const environment = commandEnvironment();
  const devices = await findDevices(environment);
  const worker = await startWorker({
    ...rest,
    devices,
    // What its operator says of it counts.
    labels: { ...deviceLabels(devices.devices), ...settings.labels },
    address: address ?? '',
    others,
    security: isInsecure ? null : { fingerprint },
    environment,
    log: stderrLog('info'),
    clock: systemClock,
    random: systemRandom,
  });
  return { ...worker, slots: settings.slots };
}
