/**
 * How full and how busy GPUs of NVIDIA are. The short form knows whole GPUs; instances and the programs that hold memory stand
 * in the long one alone, which costs the driver more.
 * @source nvidia-smi(1): --query-gpu, -q -x, -l; the DTD that comes with it: mig_device, process_info
 */
import { limits } from '../../common/core/limits.ts';
import type { Device } from './device.ts';
import type { DeviceProcess, DeviceUsage, UsageQuery } from './device-usage.ts';

const documentEnd = '</nvidia_smi_log>';
const loop = ['-l', String(limits.gpuLookMs / 1_000)] as const;

/** Looks again and again until it is ended. */
export function nvidiaUsage(devices: readonly Device[]): UsageQuery {
  if (devices.some(({ profile }) => profile !== null)) {
    return { args: ['-q', '-x', ...loop], lookEnd: documentEnd, read: readDocument };
  }
  const query = '--query-gpu=uuid,memory.used,memory.total,utilization.gpu';
  return { args: [query, '--format=csv,noheader,nounits', ...loop], lookEnd: '\n', read: readLine };
}

/** Looks once, at all there is to see. */
export const nvidiaOnce: UsageQuery = { args: ['-q', '-x'], lookEnd: null, read: readDocument };

function readLine(line: string): readonly DeviceUsage[] {
  const [id = '', used = '', total = '', busy = ''] = line.split(',').map((cell) => cell.trim());
  const usedBytes = mebibytes(`${used} MiB`);
  if (!id.startsWith('GPU-') || usedBytes === null) return [];
  const totalBytes = mebibytes(`${total} MiB`);
  return [{ id, usedBytes, totalBytes, busyPercent: percent(`${busy} %`), processes: null }];
}

function readDocument(text: string): readonly DeviceUsage[] {
  return elements(text, 'gpu').flatMap((whole) => {
    const [divided = ''] = elements(whole, 'mig_devices');
    // What is left are the GPU's own figures and name.
    const gpu = whole.replace(divided, '');
    const uuid = cell(gpu, 'uuid');
    const programs = elements(gpu, 'process_info').map((info) => ({
      ...{ instance: cell(info, 'gpu_instance_id'), pid: Number(cell(info, 'pid')) },
      ...{ name: programName(cell(info, 'process_name')), bytes: mebibytes(cell(info, 'used_memory')) },
    }));
    const instances = elements(divided, 'mig_device').flatMap((instance) => {
      const own = programs.filter((program) => program.instance === cell(instance, 'gpu_instance_id'));
      return usageOf(`${uuid}/${cell(instance, 'index')}`, instance, null, own);
    });
    if (instances.length > 0) return instances;
    return usageOf(uuid, gpu, percent(cell(gpu, 'gpu_util')), programs);
  });
}

/** None where the memory in use is not told. */
function usageOf(
  id: string,
  element: string,
  busyPercent: number | null,
  programs: readonly DeviceProcess[],
): readonly DeviceUsage[] {
  const [memory = ''] = elements(element, 'fb_memory_usage');
  const usedBytes = mebibytes(cell(memory, 'used'));
  if (usedBytes === null) return [];
  const processes = programs.map(({ pid, name, bytes }) => ({ pid, name, bytes }));
  return [{ id, usedBytes, totalBytes: mebibytes(cell(memory, 'total')), busyPercent, processes }];
}

/** What stands within each element of the name; none of those that are read stands within another of its name. */
function elements(text: string, name: string): readonly string[] {
  return [...text.matchAll(new RegExp(`<${name}(?: [^>]*)?>([^]*?)</${name}>`, 'g'))].map(([, inner = '']) => inner);
}

/** Of the first element of the name; empty without one. */
function cell(text: string, name: string): string {
  return (elements(text, name)[0] ?? '').trim();
}

function mebibytes(text: string): number | null {
  const found = /^(\d+) MiB$/.exec(text)?.[1];
  return found === undefined ? null : Number(found) * 1_048_576;
}

function percent(text: string): number | null {
  const found = /^(\d+) %$/.exec(text)?.[1];
  return found === undefined ? null : Number(found);
}

/** Without its folder and what it was called with, which are nobody else's business. */
function programName(command: string): string {
  return (/^\S*/.exec(command)?.[0] ?? '').split('/').at(-1) ?? '';
}
