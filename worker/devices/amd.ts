/**
 * GPUs of AMD, as `rocm-smi` tells of them.
 * @source ROCm SMI: --json, --showproductname, --showmeminfo vram, --showuniqueid; ROCm: GPU isolation, ROCR_VISIBLE_DEVICES
 */
import { visibleOf, type Device } from './device.ts';

/** Arguments whose output {@link amdDevices} reads. */
export const amdQuery = ['--showproductname', '--showmeminfo', 'vram', '--showuniqueid', '--json'] as const;

/** `visible`: ROCR_VISIBLE_DEVICES of the worker node; undefined: all. None where the output is no JSON of cards. */
export function amdDevices(json: string, visible: string | undefined): readonly Device[] {
  const cards = Object.entries(parse(json))
    .flatMap(([key, card]) => {
      const index = /^card(\d+)$/.exec(key)?.[1];
      return index !== undefined && typeof card === 'object' && card !== null
        ? [{ index: Number(index), card: card as Readonly<Record<string, unknown>> }]
        : [];
    })
    // Programs count from 0 whatever the numbers of the cards are.
    .sort((a, b) => a.index - b.index);
  const devices = cards.map(({ card }, index): Device & { readonly uuid: string } => ({
    name: String(index),
    uuid: cell(card, 'Unique ID').replace(/^0x/i, 'GPU-'),
    // A release has it as series, another as model; the series is what people call it.
    model: cell(card, 'Card Series') || cell(card, 'Card Model'),
    memoryBytes: Number(cell(card, 'VRAM Total Memory (B)')) || null,
    profile: null,
  }));
  const all = devices.map(({ uuid: _uuid, ...device }) => device);
  return visibleOf(all, visible, (name) => {
    const place = devices.findIndex(
      (device) => device.name === name || device.uuid.toLowerCase() === name.toLowerCase(),
    );
    const device = all[place];
    return device && { ...device, name };
  });
}

function parse(json: string): object {
  try {
    // Warnings may stand before it.
    const value: unknown = JSON.parse(json.slice(Math.max(0, json.indexOf('{'))));
    return typeof value === 'object' && value !== null ? value : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** Releases differ in the case of their names. */
function cell(card: Readonly<Record<string, unknown>>, name: string): string {
  const found = Object.entries(card).find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
  return typeof found === 'string' && found !== 'N/A' ? found.trim() : '';
}
