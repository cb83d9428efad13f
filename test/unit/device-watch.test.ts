/** How full GPUs are, as drivers tell of them, and the one program that is asked while scoring hosts have some. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Delay } from '../../common/io/delay.ts';
import { amdSmiDevices, amdSmiUsage } from '../../worker/devices/amd-smi.ts';
import { rocmUsage } from '../../worker/devices/amd.ts';
import { fullText, type DeviceUsage } from '../../worker/devices/device-usage.ts';
import { DeviceWatch } from '../../worker/devices/device-watch.ts';
import { findDevices } from '../../worker/devices/find-devices.ts';
import { nvidiaOnce, nvidiaUsage } from '../../worker/devices/nvidia-usage.ts';
import { a100, firstGpu, installDriver, steadyLooks, wholeDocument } from '../helpers/fake-nvidia-smi.ts';
import type { FakeDriver } from '../helpers/fake-nvidia-smi.ts';

const mib = 1_048_576;
const gib = 1_073_741_824;

describe('what nvidia-smi says', () => {
  const whole = { name: '0', id: firstGpu, model: a100, memoryBytes: 40 * gib, profile: null };
  const used = { usedBytes: 30_720 * mib, totalBytes: 40 * gib };

  test('of whole GPUs is a line for each; what is no figure is not known', () => {
    const { lookEnd, read } = nvidiaUsage([whole]);
    expect(lookEnd).toBe('\n');
    expect(read(`${firstGpu}, 30720, 40960, 93\n`)).toEqual([
      { id: firstGpu, ...used, busyPercent: 93, processes: null },
    ]);
    expect(read(`${firstGpu}, 30720, [N/A], [N/A]`)).toMatchObject([{ totalBytes: null, busyPercent: null }]);
    const rubbish = ['', 'Unable to determine the device handle', `${firstGpu}, [N/A], 40960, 0`, `${firstGpu}`];
    expect(rubbish.flatMap(read)).toEqual([]);
  });

  test('at length names programs, without what they were called with', () => {
    const [usage] = nvidiaOnce.read(
      wholeDocument(30_720, [
        [4_711, '30000 MiB'],
        [4_712, 'N/A'],
      ]),
    );
    expect(usage).toEqual({
      ...{ id: firstGpu, ...used, busyPercent: 12 },
      processes: [
        { pid: 4_711, name: 'python3', bytes: 30_000 * mib },
        { pid: 4_712, name: 'python3', bytes: null },
      ],
    });
    expect(['', '<nvidia_smi_log>', '<gpu></gpu>'].flatMap(nvidiaOnce.read)).toEqual([]);
  });

  test('of instances is told at length alone, each with its own programs', () => {
    const { args, lookEnd, read } = nvidiaUsage([whole, { ...whole, id: `${firstGpu}/0`, profile: '3g.20gb' }]);
    expect([args.slice(0, 2), lookEnd]).toEqual([['-q', '-x'], '</nvidia_smi_log>']);
    const instance = (index: number, of: number, usedMib: number): string =>
      `<mig_device><index>${index}</index><gpu_instance_id>${of}</gpu_instance_id><uuid>MIG-${index}</uuid>
       <fb_memory_usage><total>20096 MiB</total><used>${usedMib} MiB</used></fb_memory_usage></mig_device>`;
    const info = `<process_info><gpu_instance_id>2</gpu_instance_id><pid>7</pid><process_name>x</process_name>
       <used_memory>900 MiB</used_memory></process_info>`;
    const text = `<gpu id="0"><mig_devices>${instance(0, 1, 12)}${instance(1, 2, 1_000)}</mig_devices>
      <uuid>${firstGpu}</uuid><fb_memory_usage><total>40960 MiB</total><used>N/A</used></fb_memory_usage>
      <utilization><gpu_util>N/A</gpu_util></utilization><processes>${info}</processes></gpu>`;
    const totalBytes = 20_096 * mib;
    const processes = [{ pid: 7, name: 'x', bytes: 900 * mib }];
    expect(read(text)).toEqual([
      { id: `${firstGpu}/0`, usedBytes: 12 * mib, totalBytes, busyPercent: null, processes: [] },
      { id: `${firstGpu}/1`, usedBytes: 1_000 * mib, totalBytes, busyPercent: null, processes },
    ]);
  });
});

describe('what AMD’s programs say', () => {
  const figures = { usedBytes: 283 * mib, totalBytes: 196_592 * mib, busyPercent: 41, processes: null };

  test('of rocm-smi', () => {
    const card = {
      'VRAM Total Memory (B)': '206141652992',
      'VRAM Total Used Memory (B)': '296747008',
      'GPU use (%)': '41',
    };
    expect(rocmUsage.read(JSON.stringify({ card2: card, card1: {}, system: {} }))).toEqual([{ id: '2', ...figures }]);
    expect(rocmUsage.read('No AMD GPUs')).toEqual([]);
  });

  test('of amd-smi, as a list and as the object that newer releases make of it', () => {
    const listed = (gpu: number): object => ({
      gpu,
      asic: { market_name: 'AMD Instinct MI300X', vendor_id: '0x1002', asic_serial: `0x1AD5F0A5B6F3D1C${gpu}` },
      vram: { type: 'HBM', size: { value: 196_592, unit: 'MB' } },
    });
    const device = { name: '0', id: '0', model: 'AMD Instinct MI300X', memoryBytes: 196_592 * mib, profile: null };
    const both = [device, { ...device, name: '1', id: '1' }];
    const rows = [listed(1), listed(0)];
    expect(amdSmiDevices(JSON.stringify(rows), undefined)).toEqual(both);
    expect(amdSmiDevices(`[WARNING] no group\n${JSON.stringify({ gpu_data: rows })}`, undefined)).toEqual(both);
    const named = 'GPU-1ad5f0a5b6f3d1c1';
    expect(amdSmiDevices(JSON.stringify(rows), named)).toEqual([{ ...both[1], name: named }]);
    expect([amdSmiDevices('[{"gpu":0}]', undefined)[0]?.memoryBytes, amdSmiDevices('{', undefined)]).toEqual([
      null,
      [],
    ]);
    const measured = {
      gpu: 1,
      usage: { gfx_activity: { value: 41, unit: '%' }, umc_activity: 'N/A' },
      mem_usage: { total_vram: { value: 196_592, unit: 'MB' }, used_vram: { value: 283, unit: 'MB' } },
    };
    expect(amdSmiUsage.read(JSON.stringify([measured]))).toEqual([{ id: '1', ...figures }]);
    const unknown = { ...measured, usage: 'N/A' };
    expect(amdSmiUsage.read(JSON.stringify([unknown]))).toEqual([{ id: '1', ...figures, busyPercent: null }]);
    expect(amdSmiUsage.read(JSON.stringify([{ ...measured, mem_usage: 'N/A' }]))).toEqual([]);
  });
});

describe('a full GPU', () => {
  const usage: DeviceUsage = { id: 'x', usedBytes: 38 * gib, totalBytes: 40 * gib, busyPercent: 0, processes: null };
  const of = (processes: DeviceUsage['processes']): string => fullText('0', { ...usage, processes }, (pid) => pid < 10);
  const program = (pid: number, bytes: number | null): NonNullable<DeviceUsage['processes']>[number] => {
    return { pid, name: 'python3', bytes };
  };
  test.each([
    ['nothing of programs', null, ''],
    ['none', [], ', and the driver names no program that holds them'],
    ['its own', [program(3, gib)], ', none of it by programs other than scoring hosts of this worker node'],
    [
      'one other',
      [program(3, gib), program(40, 36 * gib)],
      ', 36.0 GB of it by 1 other program than scoring hosts of this worker node (process 40 python3)',
    ],
    [
      'several',
      [program(40, gib), program(41, 2 * gib)],
      ', 3.0 GB of it by 2 other programs than scoring hosts of this worker node (the largest: process 41 python3)',
    ],
    [
      'one of which it is not known how much',
      [program(40, null)],
      ', by 1 other program than scoring hosts of this worker node (process 40 python3)',
    ],
  ])('is told with who holds it: %s', (_, processes, text) => {
    expect(of(processes)).toBe(`GPU 0 has 38.0 of 40.0 GB in use now${text}`);
  });
});

describe('the watch', () => {
  let dir = '';
  let driver: FakeDriver;
  const warnings: string[] = [];
  const waited: number[] = [];
  /** Time does not pass, but others have their turn. */
  const noDelay: Delay = async (ms) => {
    waited.push(ms);
    await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const watches: DeviceWatch[] = [];
  const watched = async (silenceMs?: number): Promise<DeviceWatch> => {
    const environment = { PATH: driver.PATH };
    const { program, ...found } = await findDevices(environment);
    if (program === null) throw new Error('there is a driver');
    const log = { warn: (text: string) => void warnings.push(text) };
    const watch = new DeviceWatch({
      ...{ found: { ...found, program }, environment, log, delay: noDelay },
      ...(silenceMs === undefined ? {} : { silenceMs }),
    });
    watches.push(watch);
    return watch;
  };
  const looks = (): readonly number[] =>
    driver.started().flatMap(({ pid, args }) => (args.includes(' -l ') ? [pid] : []));
  const isThere = (pid: number): boolean => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'batchmill-device-watch-'));
    driver = installDriver(dir);
    warnings.length = 0;
    waited.length = 0;
  });
  afterEach(() => {
    for (const watch of watches.splice(0)) [1, 2].forEach((host) => watch.release(host));
    rmSync(dir, { recursive: true, force: true });
  });

  test('is one program, from the first host that has a GPU to the last, and tells of all of them', async () => {
    driver.looks(steadyLooks(30_720, 93));
    const watch = await watched();
    expect([looks(), watch.readings()]).toEqual([[], []]);
    watch.hold(1, ['0']);
    watch.hold(2, ['1']);
    await vi.waitFor(() => expect(watch.readings()).toHaveLength(2));
    const common = { model: a100, totalBytes: 40 * gib };
    expect(watch.readings()).toEqual([
      { ...common, name: '0', usedBytes: 30_720 * mib, busyPercent: 93 },
      { ...common, name: '1', usedBytes: 512 * mib, busyPercent: null },
    ]);
    expect([watch.peakBytes(1), watch.peakBytes(2), watch.peakBytes(3)]).toEqual([30_720 * mib, 512 * mib, null]);
    watch.release(1);
    const [pid = 0, ...others] = looks();
    expect([others, isThere(pid)]).toEqual([[], true]);
    watch.release(2);
    expect(watch.readings()).toEqual([]);
    await vi.waitFor(() => expect(isThere(pid)).toBe(false));
    watch.hold(1, ['0']);
    await vi.waitFor(() => expect(looks()).toHaveLength(2));
    expect(warnings).toEqual([]);
  });

  test.each([
    ['dies', 'exit 9'],
    ['prints rubbish and ends', 'echo "Unable to determine the device handle for GPU"'],
    ['prints of GPUs that are not the node’s', 'echo "GPU-77, 1, 2, 3"'],
    ['hangs', 'exec sleep 100'],
    ['prints rubbish without end', 'while echo x; do sleep 0.01; done'],
  ])('of a driver that %s costs one warning, and it is asked less and less often', async (_, script) => {
    driver.looks(script);
    const watch = await watched(200);
    watch.hold(1, ['0']);
    await vi.waitFor(() => expect(looks().length).toBeGreaterThan(3), 10_000);
    expect(waited.slice(0, 3)).toEqual([10_000, 20_000, 40_000]);
    expect([watch.readings(), watch.peakBytes(1), warnings]).toEqual([
      ...[[], null],
      ['it is not known how full the GPUs are; scoring goes on'],
    ]);
    driver.looks(steadyLooks(1_000, 5));
    await vi.waitFor(() => expect(watch.readings()).toHaveLength(2), 10_000);
    expect(warnings).toHaveLength(1);
  });

  test('forgets what a driver said that says nothing any more', async () => {
    driver.looks(`echo "${firstGpu}, 1, 2, 3"; exec sleep 100`);
    const watch = await watched(300);
    watch.hold(1, ['0']);
    await vi.waitFor(() => expect(watch.readings()).toHaveLength(1));
    driver.looks('exec sleep 100');
    await vi.waitFor(() => expect(watch.readings()).toEqual([]));
    // It has failed, whatever it said before.
    expect([waited[0], warnings.length]).toEqual([10_000, 1]);
  });

  test('leaves a driver alone that goes on saying something', async () => {
    driver.looks(`i=0; while i=$((i + 1)); echo "${firstGpu}, $i, 40960, 3"; do sleep 0.1; done`);
    const watch = await watched(1_000);
    watch.hold(1, ['0']);
    // For longer than it might be silent.
    await vi.waitFor(() => expect(watch.peakBytes(1)).toBeGreaterThan(12 * mib), 20_000);
    expect([looks().length, waited, warnings]).toEqual([1, [], []]);
  });

  test('knows the programs that it has started itself from those of others', async () => {
    const watch = await watched();
    driver.tells(wholeDocument(39_000, [[1, '38000 MiB']]));
    const other =
      `GPU 0 (${a100}) has 38.1 of 40.0 GB in use now, 37.1 GB of it by 1 other program ` +
      'than scoring hosts of this worker node (process 1 python3)';
    expect(await watch.fullText(['0'])).toBe(other);
    // As a scoring host is started.
    const host = spawn('sleep', ['100'], { detached: true, stdio: 'ignore' });
    driver.tells(wholeDocument(39_000, [[host.pid ?? 0, '38000 MiB']]));
    expect(await watch.fullText(['0'])).toContain('none of it by programs other than scoring hosts');
    host.kill('SIGKILL');
    expect(await watch.fullText(['1'])).toBe(null);
    driver.tells('No devices were found');
    expect(await watch.fullText(['0'])).toBe(null);
  });
});

test('a machine of AMD’s is asked by amd-smi where it works, else by rocm-smi', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-amd-'));
  const install = (name: string, script: string): void => {
    writeFileSync(join(dir, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(dir, name), 0o755);
  };
  try {
    const environment = { PATH: `${dir}:/usr/bin:/bin` };
    install('rocm-smi', `echo '{"card0": {"Card Series": "AMD INSTINCT MI250X"}}'`);
    install('amd-smi', 'echo "ERROR: the amdgpu driver is not loaded"; exit 255');
    expect((await findDevices(environment)).program).toBe('rocm-smi');
    install('amd-smi', `[ "$1" = static ] && echo '[{"gpu": 0}, {"gpu": 1}]'`);
    const { program, devices } = await findDevices(environment);
    expect([program, devices.length]).toEqual(['amd-smi', 2]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
