/** GPUs as drivers tell of them. The texts are written by hand after the documented forms. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JobSpec } from '../../common/core/cluster-messages.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { silentLog } from '../../common/io/log.ts';
import { amdDevices } from '../../worker/devices/amd.ts';
import { deviceLabels, modelLabel } from '../../worker/devices/device-labels.ts';
import { findDevices } from '../../worker/devices/find-devices.ts';
import { nvidiaDevices } from '../../worker/devices/nvidia.ts';
import { HostSetup } from '../../worker/host-setup.ts';
import { withMemoryCode } from '../../worker/pool/host-failures.ts';
import { failure, jobSpec } from '../helpers/worker-rig.ts';

const first = 'GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f';
const second = 'GPU-11111111-d268-c3f3-1b07-005d5ae1dc3f';
const two = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: ${first})\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: ${second})\n`;
const jetson = 'GPU 0: Orin (nvgpu) (UUID: 5c3f6b0e-1d1f-5a0c-9a41-0242ac120002)\n';
const mig = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: ${first})
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa)
  MIG 3g.20gb     Device  1: (UUID: MIG-bbbb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: ${second})
`;
const query = `0, ${first}, NVIDIA A100-SXM4-40GB, 40960\n1, ${second}, NVIDIA A100-SXM4-40GB, [N/A]\n`;
const gib = 1_073_741_824;

const rocm = JSON.stringify({
  card0: {
    'Unique ID': '0x1ad5f0a5b6f3d1c2',
    'VRAM Total Memory (B)': '68702699520',
    'VRAM Total Used Memory (B)': '10960896',
    'Card series': 'AMD INSTINCT MI250X',
    'Card model': '0x0b0c',
    'Card vendor': 'Advanced Micro Devices, Inc. [AMD/ATI]',
  },
  card2: { 'Unique ID': '0xbeef', 'VRAM Total Memory (B)': '68702699520', 'Card Series': 'AMD INSTINCT MI250X' },
  system: { 'Driver version': '6.3.6' },
});

describe('GPUs of NVIDIA', () => {
  test.each([
    ['all of the listing', two, undefined, ['0', '1']],
    ['instances instead of a GPU that is partitioned', mig, undefined, ['MIG-aaaa', 'MIG-bbbb', '1']],
    ['those that the node may use, in its order', two, '1,0', ['1', '0']],
    ['by the start of a name', two, 'GPU-1111', ['GPU-1111']],
    ['instances by name', mig, 'MIG-bbbb', ['MIG-bbbb']],
    ['none behind one that is not there', two, '1,7,0', ['1']],
    ['none when the node may use none', two, '', []],
    ['none when the node hides them', two, '-1', []],
    ['none without a driver', '', undefined, []],
    ['those of boards whose names have no prefix', jetson, undefined, ['0']],
  ])('are %s', (_, listing, visible, wanted) => {
    expect(nvidiaDevices(listing, query, visible).map(({ name }) => name)).toEqual(wanted);
  });

  test('have their model and memory; instances that of their profile', () => {
    const model = 'NVIDIA A100-SXM4-40GB';
    expect(nvidiaDevices(two, query, undefined)).toEqual([
      { name: '0', id: first, model, memoryBytes: 40 * gib, profile: null },
      { name: '1', id: second, model, memoryBytes: null, profile: null },
    ]);
    expect(nvidiaDevices(mig, '', 'MIG-bbbb')).toEqual([
      { name: 'MIG-bbbb', id: `${first}/1`, model, memoryBytes: 20 * gib, profile: '3g.20gb' },
    ]);
  });
});

test('GPUs of AMD are counted as programs count them, whatever the numbers of the cards', () => {
  const model = 'AMD INSTINCT MI250X';
  const all = [0, 2].map((card, index) => ({
    name: String(index),
    id: String(card),
    model,
    memoryBytes: 68_702_699_520,
    profile: null,
  }));
  expect(amdDevices(rocm, undefined)).toEqual(all);
  expect(amdDevices(`WARNING: no version\n${rocm}`, '1')).toEqual([all[1]]);
  expect(amdDevices(rocm, 'GPU-BEEF')).toEqual([{ ...all[1], name: 'GPU-BEEF' }]);
  expect([amdDevices(rocm, ''), amdDevices('', undefined), amdDevices('{', undefined)]).toEqual([[], [], []]);
});

describe('labels', () => {
  test.each([
    ['NVIDIA A100-SXM4-40GB', 'a100'],
    ['NVIDIA H100 80GB HBM3', 'h100'],
    ['NVIDIA H100 PCIe', 'h100'],
    ['NVIDIA H200', 'h200'],
    ['Tesla T4', 't4'],
    ['NVIDIA L40S', 'l40s'],
    ['NVIDIA GeForce RTX 4090', 'rtx-4090'],
    ['Quadro RTX 6000', 'rtx-6000'],
    ['AMD INSTINCT MI250X', 'mi250x'],
    ['', ''],
  ])('of %s: gpu=%s', (model, label) => {
    expect(modelLabel(model)).toBe(label);
  });

  test('say what all GPUs of the node have in common', () => {
    expect(deviceLabels(nvidiaDevices(two, query, '0'))).toEqual({ gpu: 'a100', gpu_count: '1', gpu_memory: '40GB' });
    expect(deviceLabels(nvidiaDevices(mig, query, undefined))).toEqual({ gpu: 'a100', gpu_count: '3' });
    const slices = { gpu: 'a100', gpu_count: '2', gpu_memory: '20GB', gpu_mig: '3g.20gb' };
    expect(deviceLabels(nvidiaDevices(mig, query, 'MIG-aaaa,MIG-bbbb'))).toEqual(slices);
    expect(deviceLabels([])).toEqual({});
  });
});

describe('a machine with a driver', () => {
  let dir = '';
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'batchmill-devices-'))));
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** A driver's program that answers as the real one does. */
  const install = (name: string, script: string): void => {
    writeFileSync(join(dir, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(dir, name), 0o755);
  };
  const nvidia = `if [ "$1" = -L ]; then cat <<'END'\n${two}END\nelse cat <<'END'\n${query}END\nfi`;
  const PATH = (): string => [dir, dirname(process.execPath), '/usr/bin', '/bin'].join(':');

  test('is asked, and what the node’s own variables hide is not there', async () => {
    expect((await findDevices({ PATH: PATH() })).devices).toEqual([]);
    install('rocm-smi', `cat <<'END'\n${rocm}\nEND`);
    const { variable, devices } = await findDevices({ PATH: PATH(), ROCR_VISIBLE_DEVICES: '1' });
    expect([variable, devices.map(({ name }) => name)]).toEqual(['ROCR_VISIBLE_DEVICES', ['1']]);
    install('nvidia-smi', nvidia);
    const names = (await findDevices({ PATH: PATH() })).devices.map(({ name }) => name);
    expect(names).toEqual(['0', '1']);
    const slurm = await findDevices({ PATH: PATH(), CUDA_VISIBLE_DEVICES: '1' });
    expect([slurm.variable, slurm.devices.map(({ memoryBytes }) => memoryBytes)]).toEqual([
      'CUDA_VISIBLE_DEVICES',
      [null],
    ]);
    install(
      'nvidia-smi',
      'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver" && exit 9',
    );
    expect((await findDevices({ PATH: PATH() })).variable).toBe('ROCR_VISIBLE_DEVICES');
  });

  test('gives each host its share, and a job as many slots as there are shares', async () => {
    install('nvidia-smi', nvidia);
    const environment = { PATH: PATH() };
    const devices = await findDevices(environment);
    const setup = new HostSetup({
      ...{ environmentsDir: dir, scratchDir: dir, python: process.execPath, slots: 8, environment, devices },
      ...{ clock: systemClock, delay, log: silentLog },
    });
    const of = (gpu: number | undefined, concurrencyMax: number | null = null): JobSpec => {
      const spec: JobSpec = { ...jobSpec(), scorer: { kind: 'node', script: 'score.mjs' } };
      return { ...spec, settings: { ...spec.settings, concurrencyMax, ...(gpu !== undefined && { gpu }) } };
    };
    const slots = [of(undefined), of(1), of(0.5), of(2), of(0.25, 3)].map((spec) => setup.slotsOf(spec));
    expect(slots).toEqual([null, 2, 4, 1, 3]);
    const { signal } = new AbortController();
    const chosen = async (host: number, spec: JobSpec): Promise<string | undefined> => {
      const order = { host, spec, modelDir: null, outputDir: null, signal, onProgress: () => undefined };
      return (await setup.command(order)).env['CUDA_VISIBLE_DEVICES'];
    };
    expect([await chosen(1, of(0.5)), await chosen(2, of(0.5)), await chosen(3, of(0.5))]).toEqual(['0', '1', '0']);
    [1, 2, 3].forEach((host) => setup.release(host));
    expect((await chosen(4, of(2)))?.split(',').sort()).toEqual(['0', '1']);
    const named = of(0.5);
    const own = { ...named, settings: { ...named.settings, environmentVariables: { CUDA_VISIBLE_DEVICES: '7' } } };
    expect([await chosen(5, own), setup.slotsOf(own)]).toEqual(['7', null]);
  });
});

describe('want of memory', () => {
  const told = (message: string): readonly [string, boolean] => {
    const { code, message: said } = withMemoryCode(failure('SCORER_FAILED', message));
    return [code, said.startsWith('the GPU, not the machine')];
  };
  test.each([
    ['torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 39.39 GiB total)'],
    ['OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB'],
    ['RuntimeError: CUDA error: out of memory'],
    ['OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB'],
    ['RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'],
    ['RuntimeException: CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);'],
    ['cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,589,934,592 bytes'],
    ['ResourceExhaustedError: OOM when allocating tensor on /job:localhost/replica:0/task:0/device:GPU:0'],
  ])('of the GPU: %s', (message) => {
    expect(told(message)).toEqual(['SCORER_OUT_OF_MEMORY', true]);
  });
  test.each([
    ['MemoryError'],
    ['numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB'],
    ['RuntimeException: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 1073741824'],
  ])('of the machine, or nobody says whose: %s', (message) => {
    expect(told(message)).toEqual(['SCORER_OUT_OF_MEMORY', false]);
  });
  test('other failures of a GPU stay what they are', () => {
    expect(told('RuntimeError: CUDA error: device-side assert triggered')).toEqual(['SCORER_FAILED', false]);
  });
});
