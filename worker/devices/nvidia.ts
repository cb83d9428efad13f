/**
 * GPUs of NVIDIA, as `nvidia-smi` tells of them.
 * @source nvidia-smi(1): -L, --query-gpu; CUDA C++ Programming Guide: CUDA_VISIBLE_DEVICES; MIG User Guide: device names
 */
import { visibleOf, type Device } from './device.ts';

/** Arguments whose output {@link nvidiaDevices} reads, in the order of its parameters. */
export const nvidiaListing = ['-L'] as const;
export const nvidiaQuery = ['--query-gpu=index,uuid,name,memory.total', '--format=csv,noheader,nounits'] as const;

interface Gpu extends Device {
  readonly uuid: string;
  /** Programs cannot use it as a whole then. */
  readonly instances: Device[];
}

/** `visible`: CUDA_VISIBLE_DEVICES of the worker node, which limits and orders them; undefined: all. */
export function nvidiaDevices(listing: string, query: string, visible: string | undefined): readonly Device[] {
  const gpus = readListing(listing, readMemory(query));
  const all = gpus.flatMap((gpu): readonly Device[] => (gpu.instances.length > 0 ? gpu.instances : [gpu]));
  return visibleOf(all.map(plain), visible, (name) => {
    // A name is kept as it was given: programs find it by the same start.
    const known = /^\d+$/.test(name)
      ? gpus.find((gpu) => gpu.name === name)
      : (gpus.find(({ uuid }) => uuid.startsWith(name)) ??
        gpus.flatMap(({ instances }) => instances).find((instance) => instance.name.startsWith(name)));
    return known && { ...plain(known), name };
  });
}

function plain({ name, id, model, memoryBytes, profile }: Device): Device {
  return { name, id, model, memoryBytes, profile };
}

function readListing(listing: string, memory: ReadonlyMap<string, number>): readonly Gpu[] {
  const gpus: Gpu[] = [];
  for (const line of listing.split('\n')) {
    const [, name, model, uuid] = /^GPU (\d+): (.*?) ?\(UUID: ([^)]+)\)/.exec(line) ?? [];
    if (name !== undefined && model !== undefined && uuid !== undefined) {
      gpus.push({ name, id: uuid, model, uuid, memoryBytes: memory.get(uuid) ?? null, profile: null, instances: [] });
    }
    const [, profile, place, instance] = /^\s+MIG (\S+)\s+Device\s+(\d+):.*\(UUID: (MIG-[^)]+)\)/.exec(line) ?? [];
    const gpu = gpus.at(-1);
    if (profile === undefined || place === undefined || instance === undefined || !gpu) continue;
    // The profile has the memory in its name: 3g.20gb.
    const gib = /\.(\d+)gb/.exec(profile)?.[1];
    const memoryBytes = gib === undefined ? null : Number(gib) * 1_073_741_824;
    gpu.instances.push({ name: instance, id: `${gpu.uuid}/${place}`, model: gpu.model, memoryBytes, profile });
  }
  return gpus;
}

/** Bytes by UUID; `[N/A]` is left out. */
function readMemory(query: string): ReadonlyMap<string, number> {
  const memory = new Map<string, number>();
  for (const line of query.split('\n')) {
    const cells = line.split(',').map((cell) => cell.trim());
    const [uuid, mib] = [cells[1] ?? '', cells.at(-1) ?? ''];
    if (uuid !== '' && /^\d+$/.test(mib)) memory.set(uuid, Number(mib) * 1_048_576);
  }
  return memory;
}
