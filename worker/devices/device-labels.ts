/** What a node says of its GPUs by itself, for computes to choose it by. */
import type { Device } from './device.ts';

/**
 * `gpu`: the model, such as `a100` or `rtx-4090`; `gpu_count`; `gpu_memory`: of the smallest, such as `40GB`; `gpu_mig`: the
 * profile of instances. What is not the same for all, or not known, is left out; without GPUs there is none.
 */
export function deviceLabels(devices: readonly Device[]): Readonly<Record<string, string>> {
  if (devices.length === 0) return {};
  const only = (values: readonly string[]): string | null => (new Set(values).size === 1 ? values[0] || null : null);
  const model = only(devices.map((device) => modelLabel(device.model)));
  const profile = only(devices.map((device) => device.profile ?? ''));
  const least = Math.min(...devices.map((device) => device.memoryBytes ?? 0));
  return {
    ...(model && { gpu: model }),
    gpu_count: String(devices.length),
    ...(least > 0 && { gpu_memory: `${Math.round(least / 1_073_741_824)}GB` }),
    ...(profile && { gpu_mig: profile }),
  };
}

const vendorWords = new Set(['nvidia', 'tesla', 'geforce', 'quadro', 'amd', 'instinct', 'radeon', 'graphics']);
/** What comes behind a model's name: its form, its memory, its bus. */
const formWord = /^(sxm\d*|pcie|nvl|hbm\w*|oam|\d+gb|device)$/;

/** `NVIDIA A100-SXM4-40GB` is `a100`, `NVIDIA GeForce RTX 4090` is `rtx-4090`. */
export function modelLabel(model: string): string {
  const words = model
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '' && !vendorWords.has(word));
  const end = words.findIndex((word) => formWord.test(word));
  return words.slice(0, end < 0 ? words.length : end).join('-');
}
