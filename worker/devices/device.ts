/** GPUs as a worker node hands them out: whole ones, or instances of one that is partitioned. */

export interface Device {
  /** As the variable that hides all others wants it: an index, or a UUID. */
  readonly name: string;
  /** As the driver's figures name it: the UUID of a GPU, with `/` and its place for an instance; its number of AMD. */
  readonly id: string;
  /** What the driver calls it, such as `NVIDIA A100-SXM4-40GB`; empty: unknown. */
  readonly model: string;
  /** Null: unknown. */
  readonly memoryBytes: number | null;
  /** Of an instance, such as `3g.20gb`; null: a whole GPU. */
  readonly profile: string | null;
}

/** Programs that come with drivers, which list GPUs and tell how full they are. */
export type DriverProgram = 'nvidia-smi' | 'amd-smi' | 'rocm-smi';

export interface FoundDevices {
  /** Which has listed them; null: none is there. */
  readonly program: DriverProgram | null;
  /** Variable by which a program sees some of them and no others. */
  readonly variable: string;
  readonly devices: readonly Device[];
}

export const noDevices: FoundDevices = { program: null, variable: 'CUDA_VISIBLE_DEVICES', devices: [] };

/**
 * Those that the node itself may use, in its order. `visible`: value of the variable; undefined: all that may be used.
 * `matches`: whether a device goes by a name, which may also stand for a GPU whose instances are listed.
 */
export function visibleOf(
  devices: readonly Device[],
  visible: string | undefined,
  find: (name: string) => Device | undefined,
): readonly Device[] {
  if (visible === undefined) return devices;
  const names = visible.split(',').map((name) => name.trim());
  const found = names.map((name) => (name === '' ? undefined : find(name)));
  // As CUDA reads it: what stands behind a name that is no device does not count.
  const end = found.indexOf(undefined);
  return found.slice(0, end < 0 ? found.length : end).filter((device) => device !== undefined);
}
