/**
 * GPUs of AMD, as `rocm-smi` tells of them.
 * @source ROCm SMI: --json, --showproductname, --showmeminfo vram, --showuniqueid, --showuse; ROCm: GPU isolation, ROCR_VISIBLE_DEVICES
 */
import { visibleOf, type Device } from './device.ts';
import type { DeviceUsage, UsageQuery } from './device-usage.ts';

/** Arguments whose output {@link amdDevices} reads. */
export const amdQuery = ['--showproductname', '--showmeminfo', 'vram', '--showuniqueid', '--json'] as const;

/** `visible`: ROCR_VISIBLE_DEVICES of the worker node; undefined: all. None where the output is no JSON of cards. */
export function amdDevices(json: string, visible: string | undefined): readonly Device[] {
  // Programs count from 0 whatever the numbers of the cards are.
  const devices = cardsOf(json).map(({ index: number, card }, index) => ({
    name: String(index),
    id: String(number),
    uuid: cell(card, 'Unique ID').replace(/^0x/i, 'GPU-'),
    // A release has it as series, another as model; the series is what people call it.
    model: cell(card, 'Card Series') || cell(card, 'Card Model'),
    memoryBytes: Number(cell(card, 'VRAM Total Memory (B)')) || null,
    profile: null,
  }));
  return amdVisible(devices, visible);
}

/** Those that the node may use, by index or by UUID. */
export function amdVisible(
  devices: readonly (Device & { readonly uuid: string })[],
  visible: string | undefined,
): readonly Device[] {
  const all = devices.map(({ uuid: _uuid, ...device }) => device);
  return visibleOf(all, visible, (name) => {
    const place = devices.findIndex(
      (device) => device.name === name || device.uuid.toLowerCase() === name.toLowerCase(),
    );
    const device = all[place];
    return device && { ...device, name };
  });
}

/** Looks once. */
export const rocmUsage: UsageQuery = {
  args: ['--showmeminfo', 'vram', '--showuse', '--json'],
  lookEnd: null,
  read: (json) =>
    cardsOf(json).flatMap(({ index, card }): readonly DeviceUsage[] => {
      const used = cell(card, 'VRAM Total Used Memory (B)');
      if (!/^\d+$/.test(used)) return [];
      const totalBytes = Number(cell(card, 'VRAM Total Memory (B)')) || null;
      const busy = cell(card, 'GPU use (%)');
      const busyPercent = /^\d+$/.test(busy) ? Number(busy) : null;
      return [{ id: String(index), usedBytes: Number(used), totalBytes, busyPercent, processes: null }];
    }),
};

interface Card {
  readonly index: number;
  readonly card: Readonly<Record<string, unknown>>;
}

/** By number. */
function cardsOf(json: string): readonly Card[] {
  return Object.entries(parseJson(json))
    .flatMap(([key, card]: [string, unknown]) => {
      const index = /^card(\d+)$/.exec(key)?.[1];
      return index !== undefined && typeof card === 'object' && card !== null
        ? [{ index: Number(index), card: card as Readonly<Record<string, unknown>> }]
        : [];
    })
    .sort((a, b) => a.index - b.index);
}

/** An object or a list; an empty one where there is neither. */
export function parseJson(json: string): object {
  // Warnings may stand before it.
  for (const { index } of json.matchAll(/^[{[]/gm)) {
    try {
      return JSON.parse(json.slice(index)) as object;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return {};
}

/** Releases differ in the case of their names. */
function cell(card: Readonly<Record<string, unknown>>, name: string): string {
  const found = Object.entries(card).find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
  return typeof found === 'string' && found !== 'N/A' ? found.trim() : '';
}
