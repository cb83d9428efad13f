/**
 * GPUs of AMD, as `amd-smi` tells of them, which newer releases of ROCm have in place of `rocm-smi`.
 * @source AMD SMI CLI tool: static --asic --vram, metric --mem-usage --usage, --json; ROCm: GPU isolation, ROCR_VISIBLE_DEVICES
 */
import * as z from 'zod';
import { amdVisible, parseJson } from './amd.ts';
import type { Device } from './device.ts';
import type { DeviceUsage, UsageQuery } from './device-usage.ts';

/** Arguments whose output {@link amdSmiDevices} reads. */
export const amdSmiQuery = ['static', '--asic', '--vram', '--json'] as const;

/** What is not told, or not as it was, is `N/A` or of another form: it is not known then. */
const amount = z.object({ value: z.coerce.number(), unit: z.string() }).nullable().catch(null);
const text = z.string().catch('');
const listed = z.object({
  gpu: z.int(),
  asic: z.object({ market_name: text, asic_serial: text }).catch({ market_name: '', asic_serial: '' }),
  vram: z.object({ size: amount }).catch({ size: null }),
});
const measured = z.object({
  gpu: z.int(),
  mem_usage: z.object({ total_vram: amount, used_vram: amount }).catch({ total_vram: null, used_vram: null }),
  usage: z.object({ gfx_activity: amount }).catch({ gfx_activity: null }),
});

/** `visible`: ROCR_VISIBLE_DEVICES of the worker node; undefined: all. None where the output is no JSON of GPUs. */
export function amdSmiDevices(json: string, visible: string | undefined): readonly Device[] {
  const gpus = rowsOf(json, listed).sort((a, b) => a.gpu - b.gpu);
  const devices = gpus.map(({ gpu, asic, vram }, index) => ({
    ...{
      name: String(index),
      id: String(gpu),
      model: asic.market_name,
      memoryBytes: bytesOf(vram.size),
      profile: null,
    },
    uuid: asic.asic_serial.replace(/^0x/i, 'GPU-'),
  }));
  return amdVisible(devices, visible);
}

/** Looks once. */
export const amdSmiUsage: UsageQuery = {
  args: ['metric', '--mem-usage', '--usage', '--json'],
  lookEnd: null,
  read: (json) =>
    rowsOf(json, measured).flatMap(({ gpu, mem_usage: memory, usage }): readonly DeviceUsage[] => {
      const usedBytes = bytesOf(memory.used_vram);
      if (usedBytes === null) return [];
      const busyPercent = usage.gfx_activity?.unit === '%' ? usage.gfx_activity.value : null;
      const totalBytes = bytesOf(memory.total_vram);
      return [{ id: String(gpu), usedBytes, totalBytes, busyPercent, processes: null }];
    }),
};

/** A list, which newer releases put into an object. */
function rowsOf<Row>(json: string, row: z.ZodType<Row>): Row[] {
  const found = parseJson(json);
  const rows: unknown = Array.isArray(found) ? found : (found as { readonly gpu_data?: unknown }).gpu_data;
  return (Array.isArray(rows) ? rows : []).flatMap((one) => {
    const parsed = row.safeParse(one);
    return parsed.success ? [parsed.data] : [];
  });
}

const unitBytes: Readonly<Record<string, number>> = { B: 1, KB: 1_024, MB: 1_048_576, GB: 1_073_741_824 };

function bytesOf(amountOf: z.infer<typeof amount>): number | null {
  const unit = amountOf && unitBytes[amountOf.unit.toUpperCase()];
  return amountOf && unit !== undefined && unit !== null ? amountOf.value * unit : null;
}
